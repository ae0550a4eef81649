"""The runner when something goes wrong: refused at the click, failed later, interrupted; nothing gets lost."""

from __future__ import annotations

import pytest
from app_stage import StageEngine, StageHost, last, pictures, recipe

from lib_lora_train.app import jobs, runs
from lib_lora_train.app.claim import claim
from lib_lora_train.app.jobs import JobRunner
from lib_lora_train.app.refusals import Conflict, Forbidden, NotFound
from lib_lora_train.engine import state
from lib_lora_train.errors import ExportError, HostError, OutOfMemory, SettingsError, TrainLoraError
from lib_lora_train.events import Failed, Published, Warned


@pytest.fixture
def stage(tmp_path):
    host = StageHost(tmp_path)
    engine = StageEngine(host)
    return host, engine, JobRunner(host, engine), recipe(pictures(tmp_path / "set"))


@pytest.mark.parametrize(
    "error, text, remedy, lower",
    [
        (OutOfMemory("The card is full.", "Lower the batch size.", {"train_batch_size": 1}), "full", "Lower", True),
        (HostError("It is gone.", "Load it."), "gone", "Load", False),
        (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero", "report", False),
        (OSError(28, "No space left on device", "/x/state"), "/x/state", "space", False),
    ],
)
def test_what_goes_wrong_is_told_and_the_lock_is_free(stage, caplog, error, text, remedy, lower):
    host, engine, runner, settings = stage

    def broken():
        raise error

    engine.script[2] = broken
    run = runner.start(settings)
    assert runner.wait(20)
    failed = last(runner, Failed)
    assert text in failed.text and remedy in failed.remedy and bool(failed.lower) is lower
    assert "broken" in failed.detail and text in caplog.text and remedy in caplog.text
    assert ("Traceback" in caplog.text) is not isinstance(error, TrainLoraError), "where it happened, when unforeseen"
    assert engine.closed and not host.lock.locked() and runner.status() is None
    (entry,) = runs.listing(host.data_dir())
    assert (entry["id"], entry["state"], entry["error"]) == (run, "failed", failed.text)
    runner.start(settings)  # and the next one is not in its way
    engine.script.clear()
    assert runner.wait(20)


def test_nothing_loaded_is_a_failed_run_with_a_remedy(stage):
    host, _engine, runner, settings = stage
    host.checkpoint = ""
    runner.start(settings)
    assert runner.wait(20)
    assert last(runner, Failed).remedy == "Load a checkpoint."


def test_an_error_after_the_end_does_not_undo_the_success(stage):
    host, _engine, runner, settings = stage

    def spiteful():
        raise HostError("The LoRAs cannot be put back.", "Reload the checkpoint.")

    host.breathe = lambda loan: False
    lend = host.lend

    class Leaving:
        def __enter__(self):
            self.inner = lend()
            return self.inner.__enter__()

        def __exit__(self, *error):
            self.inner.__exit__(*error)
            spiteful()

    host.lend = Leaving
    runner.start(settings)
    assert runner.wait(20)
    assert "put back" in last(runner, Warned).text
    assert runs.listing(host.data_dir())[0]["state"] == "done"


def test_a_lora_folder_that_refuses_fails_the_run_but_keeps_the_file(stage):
    host, engine, runner, settings = stage

    def spoilt():
        host.lora_dir().rmdir()
        host.lora_dir().write_text("a file where the folder should be")

    engine.script[2] = spoilt
    run = runner.start(settings)
    assert runner.wait(20)
    assert last(runner, Failed).text
    assert (runs.find(host.data_dir(), run).snapshots / "final.safetensors").is_file()
    assert Published not in map(type, runner.job.journal.all())
    with pytest.raises(ExportError) as known:  # the next run need not train to find out
        runner.start(settings)
    assert str(host.lora_dir()) in known.value.message and known.value.remedy


def test_refused_before_anything_is_made(stage, tmp_path):
    host, _engine, runner, settings = stage
    (host.lora_dir() / "cat.safetensors").write_bytes(b"mine")
    with pytest.raises(Conflict) as taken:
        runner.start(settings)
    assert taken.value.field == "output_name"
    with pytest.raises(SettingsError) as missing:
        runner.start(recipe(tmp_path / "nowhere", output_name="dog"))
    assert missing.value.field == "train_data_dir" and "nowhere" in missing.value.message
    with pytest.raises(SettingsError) as neither:
        runner.start(recipe(tmp_path / "set", output_name="dog", train_unet=False, train_text_encoder=False))
    assert neither.value.field == "train_unet"
    with pytest.raises(SettingsError) as name:
        runner.start(recipe(tmp_path / "set", output_name="../dog"))
    assert name.value.field == "output_name"
    host.allowed = False
    with pytest.raises(Forbidden):
        runner.start(recipe(tmp_path / "set", output_name="dog"))
    assert not (host.data_dir() / "runs").exists() and runner.status() is None
    for wish in jobs.WISHES:
        with pytest.raises(Conflict):
            runner.tell(wish)


def test_a_name_that_another_folder_has_is_refused_even_when_confirmed(stage, tmp_path):
    """Web UIs know LoRAs by name alone: of two files of one name they show one."""
    host, _engine, runner, _settings = stage
    (host.lora_dir() / "animals").mkdir()
    (host.lora_dir() / "animals" / "cat.safetensors").write_bytes(b"mine")
    for folder in ("", "pets"):
        for confirmed in (False, True):
            with pytest.raises(SettingsError, match="animals/cat.safetensors") as refusal:
                runner.start(recipe(tmp_path / "set", output_name="cat", output_folder=folder), confirmed)
            assert refusal.value.field == "output_name"
    runner.start(recipe(tmp_path / "set", output_name="cat", output_folder="animals"), confirm_overwrite=True)
    assert runner.wait(20)
    assert last(runner, Published).path == "animals/cat.safetensors"


def test_confirmed_overwrite_replaces(stage):
    host, _engine, runner, settings = stage
    (host.lora_dir() / "cat.safetensors").write_bytes(b"mine")
    runner.start(settings, confirm_overwrite=True)
    assert runner.wait(20)
    assert last(runner, Published).path == "cat.safetensors"
    assert (host.lora_dir() / "cat.safetensors").read_bytes() != b"mine"


def test_an_interrupted_run_goes_on_under_its_id(stage):
    host, engine, runner, settings = stage
    folder = runs.create(host.data_dir(), settings)
    with open(folder.events, "wb") as file:
        file.write(b'{"event":"Phase","t":5.0,"name":"train"}\n{"event":"Prog')  # killed while writing
    with pytest.raises(Conflict, match="nothing of it"):
        runner.continue_run(folder.root.name)
    state.save(folder.state, 1, state.State({}, {}))
    (entry,) = runs.listing(host.data_dir())
    assert (entry["state"], entry["can_resume"], entry["started"]) == ("interrupted", True, 5.0)
    assert "cannot be read" in entry["notes"][0]
    assert runner.continue_run(folder.root.name) == folder.root.name
    assert runner.wait(20)
    assert engine.resumed == [True]
    assert runner.events()["events"][0]["t"] == 5.0  # what was told before is still there
    assert runs.listing(host.data_dir())[0]["state"] == "done"
    with pytest.raises(Conflict, match="finished"):
        runner.continue_run(folder.root.name)
    with pytest.raises(NotFound):
        runner.continue_run("../../etc")


def test_a_run_that_another_program_continues_is_left_alone(stage):
    host, engine, runner, settings = stage
    folder = runs.create(host.data_dir(), settings)
    state.save(folder.state, 1, state.State({}, {}))
    other = claim(folder)
    assert runs.listing(host.data_dir())[0]["state"] == "running"
    with pytest.raises(Conflict, match="another program"):
        runner.continue_run(folder.root.name)
    assert runner.status() is None and engine.resumed == []
    other.release()
    runner.continue_run(folder.root.name)
    assert runner.wait(20)
    claim(folder).release()  # free again with the end of the run
