"""Measuring as a job: beside no run, stoppable, and its figures in what is said before the next one."""

from __future__ import annotations

import pytest
from engine_stage import pictures, recipe

from lib_lora_train.app import measure
from lib_lora_train.app.check import check
from lib_lora_train.app.datasets import DataSets
from lib_lora_train.app.jobs import JobRunner
from lib_lora_train.app.refusals import Conflict
from lib_lora_train.errors import SettingsError
from lib_lora_train.hosts.standalone import StandaloneHost


@pytest.fixture
def stage(tmp_path, tiny_checkpoint):
    host = StandaloneHost(tiny_checkpoint, tmp_path / "lora", tmp_path / "data", device="cpu")
    return host, JobRunner(host), recipe(pictures(tmp_path))


def of(runner, kind):
    return [event for event in runner.events()["events"] if event["event"] == kind]


def test_what_was_measured_is_what_is_said_from_then_on(stage):
    host, runner, settings = stage
    assert check(settings, host, DataSets())["estimate"]["measured"] == {"time": False, "memory": False}
    run = measure.start(settings, runner)
    assert runner.status()["kind"] == "measure" and runner.status()["id"] == run
    assert runner.wait(120)
    (found,) = of(runner, "Measured")
    (done,) = of(runner, "Done")
    assert done["reason"] == "done" and found["lower"] == {}
    said = check(settings, host, DataSets())["estimate"]
    assert said["measured"] == {"time": True, "memory": True}
    assert said["seconds"] == pytest.approx(said["steps"] * found["seconds_per_step"], abs=0.1)
    assert said["memory_gb"] == round(found["memory_gb"], 2)
    assert not list((host.data_dir() / "runs").glob("*")) and not list(host.lora_dir().glob("*"))


def test_it_never_goes_on_beside_another_job_and_stops_when_told(stage):
    host, runner, settings = stage
    measure.start(settings, runner)
    with pytest.raises(Conflict):
        measure.start(settings, runner)
    with pytest.raises(Conflict):
        runner.start(settings)
    runner.tell("stop")
    assert runner.wait(60)
    assert of(runner, "Done")[0]["reason"] == "stopped" and not of(runner, "Measured")
    with host.lend():
        pass  # the checkpoint is free again


def test_a_wish_to_pause_does_not_keep_the_checkpoint(stage):
    _, runner, settings = stage
    measure.start(settings, runner)
    runner.tell("pause")
    assert runner.wait(120) and of(runner, "Measured") and not of(runner, "Paused")


def test_what_training_would_refuse_is_refused_at_once(stage):
    _, runner, settings = stage
    with pytest.raises(SettingsError):
        measure.start(recipe(settings.data.train_data_dir + "-gone"), runner)
    assert runner.status() is None
