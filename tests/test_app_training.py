"""The whole way on the tiny checkpoint: runner and HTTP train real LoRAs, also stopped and continued."""

from __future__ import annotations

import os
import shutil
import threading
import time

import pytest
from app_stage import pictures
from fastapi import FastAPI
from fastapi.testclient import TestClient
from safetensors.torch import load_file
from training_stage import TINY, small_recipe, until

from lib_lora_train.app import journal, runs
from lib_lora_train.app.jobs import JobRunner
from lib_lora_train.app.routes import PREFIX, add_routes
from lib_lora_train.events import Finished, Paused, Progress, Published
from lib_lora_train.hosts.base import PictureRequest
from lib_lora_train.hosts.standalone import StandaloneHost


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
    http.runner.start(small_recipe(tmp_path, max_train_steps=2000, save_every_n_steps=0, sample_every_n_steps=0))
    drawn = []
    artist = threading.Thread(target=lambda: drawn.append(host.txt2img(request)[0].tobytes()))
    until(lambda: http.runner.job.journal.latest(Progress))
    artist.start()
    artist.join(30)
    assert drawn == [before], "a picture while training is the picture without it"
    at = http.runner.job.journal.latest(Progress).step
    until(lambda: http.runner.job.journal.latest(Progress).step > at)

    http("pause", {})
    until(lambda: http("status").json()["job"]["state"] == "paused")
    assert host.txt2img(request)[0].tobytes() == before
    step = http.runner.job.journal.latest(Progress).step
    time.sleep(0.2)
    assert http.runner.job.journal.latest(Progress).step == step
    http("resume", {})
    until(lambda: http.runner.job.journal.latest(Progress).step > step)
    http("stop", {})
    assert http.runner.wait(60)
    finished = http.runner.job.journal.latest(Finished)
    assert finished.reason == "stopped" and 0 < finished.step < 2000
    assert (host.lora_dir() / "cat.safetensors").is_file()
    assert host.txt2img(request)[0].tobytes() == before


def test_a_switched_checkpoint_waits_and_the_result_is_as_if_nothing_happened(http, host, tmp_path, tiny_checkpoint):
    settings = small_recipe(tmp_path, max_train_steps=60, save_every_n_steps=0, sample_every_n_steps=0)
    http.runner.start(settings)
    assert http.runner.wait(120)
    alone = load_file(host.lora_dir() / "cat.safetensors")

    other = tmp_path / "other.safetensors"
    shutil.copy(tiny_checkpoint, other)
    shutil.copy(tiny_checkpoint.with_suffix(".yaml"), other.with_suffix(".yaml"))
    http.runner.start(settings, confirm_overwrite=True)
    until(lambda: http.runner.job.journal.latest(Progress))
    host.load(other)
    until(lambda: http("status").json()["job"]["state"] == "paused")
    assert "other" in http("status").json()["job"]["paused_text"]
    host.load(tiny_checkpoint)
    assert http.runner.wait(120)
    assert http.runner.job.journal.latest(Finished).reason == "done"
    switched = load_file(host.lora_dir() / "cat.safetensors")
    assert alone.keys() == switched.keys() and all(alone[name].equal(switched[name]) for name in alone)


def test_stopped_then_continued_equals_one_go(http, host, tmp_path):
    settings = small_recipe(tmp_path, max_train_steps=40, save_every_n_steps=5, sample_every_n_steps=0)
    http.runner.start(settings)
    assert http.runner.wait(120)
    alone = load_file(host.lora_dir() / "cat.safetensors")
    for path in host.lora_dir().iterdir():
        path.unlink()

    run = http.runner.start(settings)
    until(lambda: http.runner.job.journal.latest(Published))
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
    run = http.runner.start(small_recipe(tmp_path, max_train_steps=40, save_every_n_steps=5, sample_every_n_steps=0))
    until(lambda: http.runner.job.journal.latest(Published))
    http("stop", {})
    assert http.runner.wait(60)
    http("continue", {"run": run})
    assert http.runner.wait(120)
    assert sorted(p.name for p in host.lora_dir().glob("*.safetensors")) == ["cat.safetensors"]


def test_paused_is_told_with_its_reason(http, tmp_path):
    http.runner.start(small_recipe(tmp_path, max_train_steps=500, save_every_n_steps=0, sample_every_n_steps=0))
    http("pause", {})
    until(lambda: http.runner.job.journal.latest(Paused))
    assert http.runner.job.journal.latest(Paused).reason == "user"
