"""The whole way on the tiny checkpoint: runner, HTTP and command line train real LoRAs, also after a kill."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from app_stage import pictures, recipe
from fastapi import FastAPI
from fastapi.testclient import TestClient
from safetensors.torch import load_file

from lib_lora_train.app import journal, runs
from lib_lora_train.app.jobs import JobRunner
from lib_lora_train.app.routes import PREFIX, add_routes
from lib_lora_train.events import Finished, Paused, Progress, Published
from lib_lora_train.export.lora_file import read_metadata
from lib_lora_train.hosts.base import PictureRequest
from lib_lora_train.hosts.standalone import StandaloneHost
from lib_lora_train.settings.recipe import dumps

ROOT = Path(__file__).parents[1]
TINY = {
    "resolution": "64", "min_bucket_reso": 64, "max_bucket_reso": 128, "max_token_length": 75, "network_dim": 2,
    "network_alpha": 2, "lr_scheduler": "constant", "learning_rate": 1e-2, "max_train_steps": 6, "sample_steps": 2,
    "save_every_n_steps": 3, "sample_every_n_steps": 3, "mixed_precision": "no",
}  # fmt: skip


def _recipe(root, **values):
    folder = root / "set"
    return recipe(folder if folder.exists() else pictures(folder), **{**TINY, **values})


def _until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.02)


@pytest.fixture
def host(tmp_path, tiny_checkpoint):
    return StandaloneHost(tiny_checkpoint, tmp_path / "Lora", tmp_path / "train-lora")


@pytest.fixture
def http(host):
    app, runner = FastAPI(), JobRunner(host)
    add_routes(app, host, runner)
    client = TestClient(app)

    def ask(route, body=None, **query):
        answer = (
            client.get(f"{PREFIX}/{route}", params=query)
            if body is None
            else client.post(f"{PREFIX}/{route}", json=body)
        )
        assert answer.status_code == 200, answer.text
        return answer

    ask.runner = runner
    yield ask
    if runner.status():
        runner.tell("stop")
    assert runner.wait(60)


def test_from_the_folder_to_the_card_and_back_over_http(http, host, tmp_path):
    settings = {**TINY, "train_data_dir": str(pictures(tmp_path / "set")), "output_name": "cat", "trigger_word": "cat"}
    settings["optimizer_type"] = "AdamW"
    expected = http("check", {"settings": settings}).json()["estimate"]
    run = http("start", {"settings": settings}).json()["run"]
    assert http.runner.wait(120)
    told = http("events", run=run).json()["events"]
    kinds = [event["event"] for event in told]
    assert kinds[-1] == "Finished", told[-1]
    steps = [event for event in told if event["event"] == "Progress"]
    assert [s["step"] for s in steps] == list(range(1, 7)) and steps[0]["total_steps"] == expected["steps"] == 6
    assert [e["step"] for e in told if e["event"] == "Published"] == [3, 6]
    assert all(e["t"] > 1e9 for e in told)

    (entry,) = http("runs").json()["runs"]
    assert (entry["state"], entry["steps"], entry["can_resume"]) == ("done", 6, False)
    sample = http(f"runs/{run}/file", path=entry["samples"][-1]["path"])
    assert sample.content[:8] == b"\x89PNG\r\n\x1a\n"
    assert {p.name for p in host.lora_dir().iterdir()} == {"cat.safetensors", "cat.json", "cat.png"}
    assert os.path.getsize(host.lora_dir() / "cat.safetensors") == pytest.approx(expected["file_mb"] * 1e6, abs=6e4)

    again = http("lora", name="cat").json()
    assert again["source"] == "ours" and again["settings"]["learning_rate"] == 1e-2
    assert not again["settings"].get("train_data_dir")
    measured = http("check", {"settings": settings}).json()["estimate"]["seconds"]
    assert measured == pytest.approx(6 / steps[-1]["it_per_s"], rel=0.05, abs=0.1), (
        "the estimate is now what was measured"
    )


def test_pictures_are_drawn_while_training_and_while_paused(http, host, tmp_path):
    request = PictureRequest(prompt="a cat", width=64, height=64, steps=2)
    before = host.txt2img(request)[0].tobytes()
    http.runner.start(_recipe(tmp_path, max_train_steps=2000, save_every_n_steps=0, sample_every_n_steps=0))
    drawn = []
    artist = threading.Thread(target=lambda: drawn.append(host.txt2img(request)[0].tobytes()))
    _until(lambda: http.runner.job.journal.latest(Progress))
    artist.start()
    artist.join(30)
    assert drawn == [before], "a picture while training is the picture without it"
    at = http.runner.job.journal.latest(Progress).step
    _until(lambda: http.runner.job.journal.latest(Progress).step > at)

    http("pause", {})
    _until(lambda: http("status").json()["job"]["state"] == "paused")
    assert host.txt2img(request)[0].tobytes() == before
    step = http.runner.job.journal.latest(Progress).step
    time.sleep(0.2)
    assert http.runner.job.journal.latest(Progress).step == step
    http("resume", {})
    _until(lambda: http.runner.job.journal.latest(Progress).step > step)
    http("stop", {})
    assert http.runner.wait(60)
    finished = http.runner.job.journal.latest(Finished)
    assert finished.reason == "stopped" and 0 < finished.step < 2000
    assert (host.lora_dir() / "cat.safetensors").is_file()
    assert host.txt2img(request)[0].tobytes() == before


def test_a_switched_checkpoint_waits_and_the_result_is_as_if_nothing_happened(http, host, tmp_path, tiny_checkpoint):
    settings = _recipe(tmp_path, max_train_steps=60, save_every_n_steps=0, sample_every_n_steps=0)
    http.runner.start(settings)
    assert http.runner.wait(120)
    alone = load_file(host.lora_dir() / "cat.safetensors")

    other = tmp_path / "other.safetensors"
    shutil.copy(tiny_checkpoint, other)
    shutil.copy(tiny_checkpoint.with_suffix(".yaml"), other.with_suffix(".yaml"))
    http.runner.start(settings, confirm_overwrite=True)
    _until(lambda: http.runner.job.journal.latest(Progress))
    host.load(other)
    _until(lambda: http("status").json()["job"]["state"] == "paused")
    assert "other" in http("status").json()["job"]["paused_text"]
    host.load(tiny_checkpoint)
    assert http.runner.wait(120)
    assert http.runner.job.journal.latest(Finished).reason == "done"
    switched = load_file(host.lora_dir() / "cat.safetensors")
    assert alone.keys() == switched.keys() and all(alone[name].equal(switched[name]) for name in alone)


def test_stopped_then_continued_equals_one_go(http, host, tmp_path):
    settings = _recipe(tmp_path, max_train_steps=40, save_every_n_steps=5, sample_every_n_steps=0)
    http.runner.start(settings)
    assert http.runner.wait(120)
    alone = load_file(host.lora_dir() / "cat.safetensors")
    for path in host.lora_dir().iterdir():
        path.unlink()

    run = http.runner.start(settings)
    _until(lambda: http.runner.job.journal.latest(Published))
    http("stop", {})
    assert http.runner.wait(60)
    assert 5 <= http.runner.job.journal.latest(Finished).step < 40
    assert http("continue", {"run": run}).json()["run"] == run
    assert http.runner.wait(120)
    assert http.runner.job.journal.latest(Finished).reason == "done"
    published = http.runner.job.journal.latest(Published)
    continued = load_file(host.lora_dir() / published.path)
    assert all(alone[name].equal(continued[name]) for name in alone)
    assert [p.step for p in journal.read(runs.find(host.data_dir(), run).events)[0] if isinstance(p, Progress)][
        -1
    ] == 40


def test_a_continued_run_goes_on_under_its_name(http, host, tmp_path):
    run = http.runner.start(_recipe(tmp_path, max_train_steps=40, save_every_n_steps=5, sample_every_n_steps=0))
    _until(lambda: http.runner.job.journal.latest(Published))
    http("stop", {})
    assert http.runner.wait(60)
    http("continue", {"run": run})
    assert http.runner.wait(120)
    assert sorted(p.name for p in host.lora_dir().glob("*.safetensors")) == ["cat.safetensors"]


# the command line


def _command(*arguments):
    return [sys.executable, "-m", "lib_lora_train", *map(str, arguments)]


def _environment():
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}


def _train(arguments, **how):
    return subprocess.Popen(
        _command(*arguments), env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how
    )


def _run_of(out: Path) -> Path:
    return next((out / "train-lora" / "runs").iterdir())


def _steps(out: Path) -> int:
    found = list((out / "train-lora" / "runs").glob("*/events.jsonl")) if out.exists() else []
    return max((e.step for path in found for e in journal.read(path)[0] if isinstance(e, Progress)), default=0)


@pytest.fixture
def job(tmp_path, tiny_checkpoint):
    """Arguments for `train` into a folder."""
    path = tmp_path / "recipe.toml"
    long = {"max_train_steps": 60, "save_every_n_steps": 0, "sample_every_n_steps": 0, "save_state_every_n_steps": 5}
    path.write_text(dumps(_recipe(tmp_path, **long)), encoding="utf-8")
    return lambda out, *more: ["train", path, "--checkpoint", tiny_checkpoint, "--out", tmp_path / out, *more]


@pytest.mark.slow
def test_killed_and_resumed_equals_one_go(job, tmp_path):
    whole = subprocess.run(_command(*job("whole", "--json")), env=_environment(), capture_output=True, text=True)
    assert whole.returncode == 0, whole.stderr
    report = json.loads(whole.stdout.splitlines()[-1])
    assert report["steps"] == 60 and report["state"] == "done" and Path(report["thumbnail"]).is_file()
    assert report["seconds"] >= report["seconds_to_first_step"] > 0 and Path(report["card"]).is_file()
    assert "60/60" in whole.stderr, "the bar"

    killed = _train(job("killed"))
    _until(lambda: _steps(tmp_path / "killed") >= 12)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    run = _run_of(tmp_path / "killed")
    assert _steps(tmp_path / "killed") < 60 and runs.state_of(journal.read(run / "events.jsonl")[0]) == "interrupted"
    resumed = subprocess.run(_command("resume", run, "--json"), env=_environment(), capture_output=True, text=True)
    assert resumed.returncode == 0, resumed.stderr
    again = json.loads(resumed.stdout.splitlines()[-1])
    assert again["steps"] == 60
    alone, other = load_file(report["lora"]), load_file(again["lora"])
    assert alone.keys() == other.keys() and all(alone[name].equal(other[name]) for name in alone)
    hashes = [read_metadata(Path(r["lora"]))["sshs_model_hash"] for r in (report, again)]
    assert hashes[0] == hashes[1]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_ctrl_c_stops_and_keeps_twice_aborts_and_both_can_go_on(job, tmp_path):
    process = _train(job("stopped", "--json", "--set", "max_train_steps=5000"))
    _until(lambda: _steps(tmp_path / "stopped") >= 3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 3, err
    report = json.loads(out.splitlines()[-1])
    assert report["state"] == "stopped" and Path(report["lora"]).is_file() and "keeping" in err

    process = _train(job("aborted", "--set", "max_train_steps=5000"))
    _until(lambda: _steps(tmp_path / "aborted") >= 8)
    os.kill(process.pid, signal.SIGSTOP)  # so that both arrive before it can finish
    process.send_signal(signal.SIGINT)
    os.kill(process.pid, signal.SIGCONT)
    time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode in (130, 3)
    for out in ("stopped", "aborted"):
        (folder,) = (tmp_path / out / "train-lora" / "runs").iterdir()
        assert runs.has_state(runs.find(tmp_path / out / "train-lora", folder.name))


def test_refusals_name_the_thing_and_have_their_own_code(tmp_path, tiny_checkpoint, capsys):
    from lib_lora_train.app.cli import main

    path = tmp_path / "recipe.toml"
    path.write_text(dumps(_recipe(tmp_path)), encoding="utf-8")
    ok = ["train", str(path), "--checkpoint", str(tiny_checkpoint), "--out", str(tmp_path / "out")]
    for arguments, word in (
        (["train", str(tmp_path / "no.toml"), *ok[2:]], "no.toml"),
        (["train", str(path), "--checkpoint", str(tmp_path / "no.safetensors")], "no.safetensors"),
        ([*ok, "--set", "network_dmi=3"], "network_dim"),
        ([*ok, "--set", "network_dim"], "network_dim"),
        ([*ok, "--set", "network_dim=many"], "many"),
        ([*ok, "--set", f"train_data_dir={tmp_path / 'nowhere'}"], "nowhere"),
        (["resume", str(tmp_path / "no-run")], "no-run"),
        (["inspect", str(tmp_path / "no.safetensors")], "no.safetensors"),
    ):
        assert main(arguments) == 2, arguments
        assert word in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_set_and_json_and_inspect_in_one_process(tmp_path, tiny_checkpoint, capsys):
    from lib_lora_train.app.cli import main

    path = tmp_path / "recipe.toml"
    path.write_text(dumps(_recipe(tmp_path)), encoding="utf-8")
    ok = ["train", str(path), "--checkpoint", str(tiny_checkpoint), "--out", str(tmp_path / "out")]
    assert main([*ok, "--set", "max_train_steps=2", "--set", "output_name=dog", "--json"]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["steps"] == 2 and Path(report["lora"]).name == "dog.safetensors"
    assert main([*ok, "--set", "output_name=dog"]) == 2
    assert "already" in capsys.readouterr().err
    assert main([*ok, "--set", "output_name=dog", "--set", "max_train_steps=1", "--overwrite"]) == 0
    assert capsys.readouterr().out.strip() == report["lora"]
    assert main(["inspect", report["lora"]]) == 0
    assert "dog.safetensors" in capsys.readouterr().out
    assert main(["inspect", report["lora"], "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["ranks"]) == {"2"}


def test_a_failed_run_has_its_own_code_and_names_the_reason(tmp_path, tiny_checkpoint, capsys):
    from lib_lora_train.app.cli import main

    path = tmp_path / "recipe.toml"
    path.write_text(dumps(_recipe(tmp_path)), encoding="utf-8")
    for picture in (tmp_path / "set").rglob("*.png"):
        picture.write_bytes(b"broken")
    code = main(["train", str(path), "--checkpoint", str(tiny_checkpoint), "--out", str(tmp_path / "out"), "--json"])
    captured = capsys.readouterr()
    assert code == 1 and json.loads(captured.out.splitlines()[-1])["error"]
    assert "failed:" in captured.err


def test_paused_is_told_with_its_reason(http, tmp_path):
    http.runner.start(_recipe(tmp_path, max_train_steps=500, save_every_n_steps=0, sample_every_n_steps=0))
    http("pause", {})
    _until(lambda: http.runner.job.journal.latest(Paused))
    assert http.runner.job.journal.latest(Paused).reason == "user"
