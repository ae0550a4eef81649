"""The runner: one run at a time, wishes reach it, the host's lock and checkpoint are respected, nothing gets lost."""

from __future__ import annotations

import threading

import pytest
import torch
from app_stage import StageEngine, StageHost, last, pictures, recipe, until

from lib_lora_train.app import jobs, runs
from lib_lora_train.app.drive import Drive, Job
from lib_lora_train.app.jobs import JobRunner
from lib_lora_train.app.journal import Journal
from lib_lora_train.app.refusals import Conflict, NotFound
from lib_lora_train.errors import HostError, SettingsError
from lib_lora_train.events import Changed, Finished, Paused
from lib_lora_train.export import lora_file
from lib_lora_train.settings.recipe import read


@pytest.fixture
def stage(tmp_path):
    host = StageHost(tmp_path)
    engine = StageEngine(host)
    return host, engine, JobRunner(host, engine), recipe(pictures(tmp_path / "set"))


def _kinds(runner):
    return [e["event"] for e in runner.events()["events"]]


def test_a_run_from_click_to_card(stage):
    host, engine, runner, settings = stage
    run = runner.start(settings)
    assert runner.wait(20)
    assert _kinds(runner) == ["Phase", "Phase", *["Progress"] * 3, "Snapshot", "Published", "Finished"]
    assert (host.lora_dir() / "cat.safetensors").is_file() and (host.lora_dir() / "cat.png").is_file()
    assert engine.closed and engine.locked == [True] * 3 and not host.lock.locked()
    folder = runs.find(host.data_dir(), run)
    assert folder.recipe.is_file() and runs.read_origin(folder).title == "base.safetensors"
    assert runs.events(folder)[0] == runner.job.journal.all()
    assert runner.status() is None
    (entry,) = runs.listing(host.data_dir())
    assert (entry["state"], entry["steps"], entry["can_resume"]) == ("done", 3, False)
    assert entry["loras"] == [{"name": "cat", "step": 3, "path": "cat.safetensors"}]


def test_of_two_clicks_at_the_same_time_one_trains(stage):
    host, engine, runner, settings = stage
    engine.go = threading.Semaphore(0)
    barrier, answers = threading.Barrier(6), []

    def click():
        barrier.wait()
        try:
            answers.append(runner.start(settings))
        except Conflict as error:
            answers.append(error)

    threads = [threading.Thread(target=click) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(a, str) for a in answers) == 1
    refusal = next(a for a in answers if isinstance(a, Conflict))
    assert "cat" in refusal.message and refusal.remedy
    assert len(list((host.data_dir() / "runs").iterdir())) == 1
    engine.go.release(100)
    assert runner.wait(20)


def test_pause_frees_the_lock_and_resume_goes_on(stage):
    host, engine, runner, settings = stage
    engine.script[1] = lambda: runner.tell("pause")
    runner.start(settings)
    until(lambda: runner.status()["state"] == "paused")
    assert not host.lock.locked()
    engine.script.clear()
    runner.tell("resume")
    assert runner.wait(20)
    assert isinstance(last(runner, Finished), Finished) and last(runner, Finished).step == 3
    assert engine.locked == [True] * 3


def test_stop_keeps_what_was_trained_also_while_paused(stage):
    host, engine, runner, settings = stage
    engine.script[2] = lambda: runner.tell("pause")
    runner.start(settings)
    until(lambda: runner.status()["state"] == "paused")
    runner.tell("stop")
    assert runner.wait(20)
    finished = last(runner, Finished)
    assert (finished.reason, finished.step) == ("stopped", 2)
    assert (host.lora_dir() / "cat.safetensors").is_file()
    assert runs.listing(host.data_dir())[0]["state"] == "stopped"


def test_somebody_who_waits_gets_through_between_two_steps(stage):
    host, engine, runner, settings = stage
    free = []
    host.between = lambda: free.append(host.lock.acquire(timeout=1)) or host.lock.release()
    engine.script[1] = host.somebody_waits.set
    runner.start(settings)
    assert runner.wait(20)
    assert free == [True] and engine.locked == [True] * 3
    assert host.breaths >= 3


def test_a_switched_checkpoint_pauses_until_it_is_back(stage):
    host, engine, runner, settings = stage
    host.between = lambda: setattr(host, "checkpoint", "other.safetensors")
    engine.script[1] = host.somebody_waits.set
    runner.start(settings)
    until(lambda: (runner.status() or {}).get("state") == "paused")
    status = runner.status()
    assert "other.safetensors" in status["paused_text"] and "base.safetensors" in status["paused_text"]
    assert not host.lock.locked() and len(engine.locked) == 1
    host.checkpoint = "base.safetensors"
    assert runner.wait(20)
    assert engine.locked == [True] * 3
    kinds = _kinds(runner)
    assert kinds.index("Paused") < kinds.index("Resumed") < kinds.index("Finished")


def test_stop_while_another_checkpoint_is_loaded_still_saves(stage):
    host, engine, runner, settings = stage
    host.between = lambda: setattr(host, "checkpoint", "other.safetensors")
    engine.script[1] = host.somebody_waits.set
    drawn = []
    host.txt2img = lambda request: drawn.append(request) or []
    runner.start(settings)
    until(lambda: (runner.status() or {}).get("state") == "paused")
    runner.tell("stop")
    assert runner.wait(20)
    assert last(runner, Finished).reason == "stopped" and len(engine.locked) == 1
    assert (host.lora_dir() / "cat.safetensors").is_file()
    assert drawn == [], "a thumbnail would be drawn with the wrong checkpoint"


def test_switched_away_while_paused_by_the_user(stage):
    host, engine, runner, settings = stage
    engine.script[1] = lambda: runner.tell("pause")
    runner.start(settings)
    until(lambda: runner.status()["state"] == "paused")
    engine.script.clear()
    host.checkpoint = "other.safetensors"
    runner.tell("resume")
    until(lambda: any(isinstance(e, Paused) and e.reason == "checkpoint" for e in runner.job.journal.all()))
    assert runner.status()["state"] == "paused"
    host.checkpoint = "base.safetensors"
    assert runner.wait(20) and last(runner, Finished).step == 3


def test_events_are_asked_for_piece_by_piece(stage):
    _host, _engine, runner, settings = stage
    with pytest.raises(NotFound):
        runner.events()
    run = runner.start(settings)
    assert runner.wait(20)
    whole = runner.events(run)
    pieces, after = [], 0
    while after < whole["next"]:
        piece = runner.events(run, after)
        pieces += piece["events"][:2]
        after += min(2, len(piece["events"]))
    assert pieces == whole["events"]
    assert runner.events(run, 10**9) == {"events": [], "next": whole["next"]}
    assert runner.events(run, -5) == whole
    assert JobRunner(_host).events(run) == whole  # after a restart, from the file


def test_the_process_has_one_runner_and_it_knows_when_no_host_is_there_yet():
    assert jobs.runner() is jobs.runner()
    with pytest.raises(HostError, match="not connected"):
        jobs.JobRunner().start(recipe("x"))


def test_status_tells_progress_and_phase(stage):
    _host, engine, runner, settings = stage
    engine.go = threading.Semaphore(2)
    runner.start(settings)
    until(lambda: (runner.status()["progress"] or {}).get("step") == 2)
    status = runner.status()
    assert status["name"] == "cat" and status["state"] == "running" and status["phase"]["name"] == "train"
    runner.tell("stop")
    assert runner.status()["state"] == "stopping"
    engine.go.release(5)
    assert runner.wait(20)


def test_weights_to_continue_from_are_found_in_the_lora_folder_as_cards_name_them(stage, tmp_path):
    host, _engine, runner, _settings = stage
    (host.lora_dir() / "sub").mkdir()
    old = {"lora_unet_x.lora_down.weight": torch.ones(1, 1), "lora_unet_x.lora_up.weight": torch.ones(1, 1)}
    lora_file.save(host.lora_dir() / "sub" / "old.safetensors", old, {})
    run = runner.start(recipe(tmp_path / "set", network_weights="sub/old.safetensors"))
    assert runner.wait(20)
    kept = read(runs.find(host.data_dir(), run).recipe).network.network_weights
    assert kept == str(host.lora_dir() / "sub" / "old.safetensors")
    with pytest.raises(SettingsError) as missing:
        runner.start(recipe(tmp_path / "set", output_name="dog", network_weights="gone.safetensors"))
    assert missing.value.field == "network_weights" and "gone" in missing.value.message


def test_wishes_for_samples_are_checked_recorded_and_hold_after_a_restart(tmp_path):
    class Listening(StageEngine):
        def _steps(self, control):
            for event in super()._steps(control):
                yield event
                if wanted := control.take_change():
                    yield Changed(saving=wanted)
            return self.steps

    host = StageHost(tmp_path)
    engine = Listening(host)
    engine.go = threading.Semaphore(0)
    runner = JobRunner(host, engine=engine)
    run = runner.start(recipe(pictures(tmp_path / "pictures")))
    with pytest.raises(SettingsError, match="cannot be changed while it trains"):
        runner.change({"network_dim": 8})
    with pytest.raises(SettingsError):
        runner.change({"sample_prompts": "cat --unknown 3"})
    runner.change({"sample_prompts": "cat, asleep", "sample_every_n_steps": 5})
    engine.go.release(10)
    assert runner.wait(20)
    told = [event for event in runner.events(run)["events"] if event["event"] == "Changed"]
    assert [event["saving"] for event in told] == [{"sample_prompts": "cat, asleep", "sample_every_n_steps": 5}]
    job = Job(runner.job.settings, runner.job.folder, Journal(runner.job.folder.events, resume=True), resume=True)
    Drive(job, host, StageEngine(host)).run()
    assert job.control.take_change() == told[0]["saving"]
    with pytest.raises(Conflict):
        runner.change({})
