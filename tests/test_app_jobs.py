"""The runner: one run at a time, wishes reach it, the host's lock and checkpoint are respected, nothing gets lost."""

from __future__ import annotations

import threading
import time

import pytest
import torch
from app_stage import StageEngine, StageHost, pictures, recipe

from lib_lora_train.app import jobs, runs
from lib_lora_train.app.claim import claim
from lib_lora_train.app.drive import Drive, Job
from lib_lora_train.app.jobs import JobRunner
from lib_lora_train.app.journal import Journal
from lib_lora_train.app.refusals import Conflict, Forbidden, NotFound
from lib_lora_train.engine import state
from lib_lora_train.errors import ExportError, HostError, OutOfMemory, SettingsError, TrainLoraError
from lib_lora_train.events import Changed, Failed, Finished, Paused, Published, Warned
from lib_lora_train.export import lora_file
from lib_lora_train.settings.recipe import read


@pytest.fixture
def stage(tmp_path):
    host = StageHost(tmp_path)
    engine = StageEngine(host)
    return host, engine, JobRunner(host, engine), recipe(pictures(tmp_path / "set"))


def _until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.01)


def _kinds(runner):
    return [e["event"] for e in runner.events()["events"]]


def _last(runner, kind):
    return [e for e in runner.job.journal.all() if isinstance(e, kind)][-1]


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
    _until(lambda: runner.status()["state"] == "paused")
    assert not host.lock.locked()
    engine.script.clear()
    runner.tell("resume")
    assert runner.wait(20)
    assert isinstance(_last(runner, Finished), Finished) and _last(runner, Finished).step == 3
    assert engine.locked == [True] * 3


def test_stop_keeps_what_was_trained_also_while_paused(stage):
    host, engine, runner, settings = stage
    engine.script[2] = lambda: runner.tell("pause")
    runner.start(settings)
    _until(lambda: runner.status()["state"] == "paused")
    runner.tell("stop")
    assert runner.wait(20)
    finished = _last(runner, Finished)
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
    _until(lambda: (runner.status() or {}).get("state") == "paused")
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
    _until(lambda: (runner.status() or {}).get("state") == "paused")
    runner.tell("stop")
    assert runner.wait(20)
    assert _last(runner, Finished).reason == "stopped" and len(engine.locked) == 1
    assert (host.lora_dir() / "cat.safetensors").is_file()
    assert drawn == [], "a thumbnail would be drawn with the wrong checkpoint"


def test_switched_away_while_paused_by_the_user(stage):
    host, engine, runner, settings = stage
    engine.script[1] = lambda: runner.tell("pause")
    runner.start(settings)
    _until(lambda: runner.status()["state"] == "paused")
    engine.script.clear()
    host.checkpoint = "other.safetensors"
    runner.tell("resume")
    _until(lambda: any(isinstance(e, Paused) and e.reason == "checkpoint" for e in runner.job.journal.all()))
    assert runner.status()["state"] == "paused"
    host.checkpoint = "base.safetensors"
    assert runner.wait(20) and _last(runner, Finished).step == 3


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
    failed = _last(runner, Failed)
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
    assert _last(runner, Failed).remedy == "Load a checkpoint."


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
    assert "put back" in _last(runner, Warned).text
    assert runs.listing(host.data_dir())[0]["state"] == "done"


def test_a_lora_folder_that_refuses_fails_the_run_but_keeps_the_file(stage):
    host, engine, runner, settings = stage

    def spoilt():
        host.lora_dir().rmdir()
        host.lora_dir().write_text("a file where the folder should be")

    engine.script[2] = spoilt
    run = runner.start(settings)
    assert runner.wait(20)
    assert _last(runner, Failed).text
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
    assert _last(runner, Published).path == "animals/cat.safetensors"


def test_confirmed_overwrite_replaces(stage):
    host, _engine, runner, settings = stage
    (host.lora_dir() / "cat.safetensors").write_bytes(b"mine")
    runner.start(settings, confirm_overwrite=True)
    assert runner.wait(20)
    assert _last(runner, Published).path == "cat.safetensors"
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
    _until(lambda: (runner.status()["progress"] or {}).get("step") == 2)
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
