"""The routes over real HTTP requests: shapes as documented, refusals as JSON, strangers kept out."""

from __future__ import annotations

import asyncio
import json
import threading
from io import BytesIO

import pytest
from app_stage import StageEngine, StageHost, pictures, recipe
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from lib_lora_train.app.jobs import JobRunner
from lib_lora_train.app.routes import GET, POST, PREFIX, add_routes
from lib_lora_train.settings.load import to_mapping
from lib_lora_train.settings.schema import Settings


class Stage:
    def __init__(self, root):
        self.host = StageHost(root)
        self.engine = StageEngine(self.host)
        self.runner = JobRunner(self.host, self.engine)
        self.app = FastAPI()
        add_routes(self.app, self.host, self.runner)
        self.client = TestClient(self.app)
        self.settings = {"train_data_dir": str(pictures(root / "set")), "output_name": "cat", "optimizer_type": "AdamW"}

    def get(self, path, /, **query):
        return self.client.get(f"{PREFIX}/{path}", params=query)

    def post(self, path, body=None, **headers):
        return self.client.post(f"{PREFIX}/{path}", json=body or {}, headers=headers)

    def upload(self, content, **query):
        kind = {"Content-Type": "application/octet-stream"}
        return self.client.post(f"{PREFIX}/upload", params=query, content=content, headers=kind)


@pytest.fixture
def stage(tmp_path):
    return Stage(tmp_path)


def _refused(answer, code):
    assert answer.status_code == code, answer.text
    body = answer.json()
    assert set(body) == {"error", "remedy", "field"} and body["error"]
    return body


def test_status_and_schema_have_the_documented_shape(stage):
    status = stage.get("status").json()
    assert status["host"]["checkpoint"] == "base.safetensors" and status["job"] is None and status["version"]
    schema = stage.get("schema").json()
    names = {field["name"] for group in schema["groups"] for field in group["fields"]}
    assert names == set(schema["defaults"]) == set(to_mapping(Settings()))
    assert {p["name"] for p in schema["presets"]} >= {"easy", "style"} and schema["last"] is None


def test_check_tells_what_will_happen_and_gives_pictures_by_number(stage):
    answer = stage.post("check", {"settings": stage.settings})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["pictures"]["count"] == 3 and found["pictures"]["samples"] == 6
    assert found["pictures"]["concepts"] == [{"name": "cat", "repeats": 2, "count": 3, "is_reg": False}]
    assert [i["caption"] for i in found["pictures"]["items"]] == [f"cat, number {n}" for n in range(3)]
    assert sum(b["count"] for b in found["pictures"]["buckets"]) == 3
    assert found["estimate"]["steps"] == 1000
    picture = stage.get("pictures", set=found["pictures"]["set"], index=2, size=48)
    assert picture.headers["content-type"] == "image/jpeg" and picture.headers["x-content-type-options"] == "nosniff"
    assert Image.open(BytesIO(picture.content)).size == (32, 48)
    assert not (stage.host.data_dir() / "runs").exists(), "a check never makes a run"


def test_check_looks_again_only_when_something_changed(stage, tmp_path):
    first = stage.post("check", {"settings": stage.settings}).json()
    again = stage.post("check", {"settings": {**stage.settings, "network_dim": 4}}).json()
    assert again["pictures"]["set"] == first["pictures"]["set"]
    (tmp_path / "set" / "2_cat" / "0.txt").write_text("another caption")
    changed = stage.post("check", {"settings": stage.settings}).json()
    assert changed["pictures"]["set"] != first["pictures"]["set"]
    assert changed["pictures"]["items"][0]["caption"] == "another caption"


def test_pictures_only_of_known_sets(stage):
    known = stage.post("check", {"settings": stage.settings}).json()["pictures"]["set"]
    for bad in ({"set": "guess"}, {"set": known, "index": 3}, {"set": known, "index": -1}, {}):
        _refused(stage.get("pictures", **bad), 404)
    assert _refused(stage.get("pictures", set=known, index="0; ls"), 400)["field"] == "index"


def test_a_run_over_http(stage):
    stage.engine.go = threading.Semaphore(1)
    run = stage.post("start", {"settings": stage.settings}).json()["run"]
    assert "already" in _refused(stage.post("start", {"settings": stage.settings}), 409)["error"]
    assert stage.post("pause").json() == {"ok": True} and stage.post("resume").json() == {"ok": True}
    assert stage.get("status").json()["job"]["id"] == run
    stage.engine.go.release(10)
    assert stage.runner.wait(20)
    told = stage.get("events", run=run, after=0).json()
    assert told["events"][-1]["event"] == "Finished" and told["next"] == len(told["events"])
    (entry,) = stage.get("runs").json()["runs"]
    assert entry["state"] == "done" and entry["loras"][0]["name"] == "cat"
    assert stage.get("schema").json()["last"]["output_name"] == "cat"
    _refused(stage.post("pause"), 409)
    assert _refused(stage.post("start", {"settings": stage.settings}), 409)["field"] == "output_name"
    assert stage.post("start", {"settings": stage.settings, "confirm_overwrite": True}).status_code == 200
    assert stage.runner.wait(20)
    _refused(stage.post("continue", {"run": run}), 409)
    _refused(stage.post("continue", {"run": "../x"}), 404)
    _refused(stage.get("events", run="nobody"), 404)


def test_sample_pictures_are_served_and_nothing_else(stage):
    run = stage.runner.start(recipe(stage.settings["train_data_dir"]))
    assert stage.runner.wait(20)
    folder = stage.host.data_dir() / "runs" / run
    Image.new("RGB", (8, 8)).save(folder / "samples" / "1.png")
    (folder / "samples" / "untold.png").write_bytes(b"x")
    with open(folder / "events.jsonl", "ab") as file:
        for path in ("samples/1.png", "samples/../recipe.toml", "samples/gone.png", "recipe.toml"):
            told = {"event": "Sampled", "step": 1, "index": 0, "prompt": "", "seed": 1, "path": path}
            file.write(json.dumps(told).encode() + b"\n")
    assert stage.get(f"runs/{run}/file", path="samples/1.png").headers["content-type"] == "image/png"
    for path in ("recipe.toml", "samples/../recipe.toml", "samples/untold.png", "samples/gone.png", "", "/etc/passwd"):
        _refused(stage.get(f"runs/{run}/file", path=path), 404)
    assert stage.get("runs/../file", path="samples/1.png").status_code == 404


@pytest.mark.parametrize("path", [*GET, *POST, "upload"])
def test_every_route_keeps_strangers_out(stage, path):
    method = "POST" if path in POST or path == "upload" else "GET"
    address = f"{PREFIX}/{path.replace('{id}', 'x')}"
    answer = stage.client.request(method, address, headers={"Origin": "http://evil.example"})
    _refused(answer, 403)
    stage.host.reason = "Log in."
    assert _refused(stage.client.request(method, address), 401)["error"] == "Log in."


@pytest.mark.parametrize("path", [*POST, "upload"])
@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
def test_what_a_foreign_form_could_send_is_refused(stage, path, kind):
    answer = stage.client.post(f"{PREFIX}/{path}", content=b"{}", headers={"Content-Type": kind})
    _refused(answer, 403)


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"settings": 5}', b'{"settings": {"output_name": 1e999}}']
)
def test_bodies_that_are_nothing_of_ours(stage, body):
    kind = {"Content-Type": "application/json"}
    _refused(stage.client.post(f"{PREFIX}/start", content=body, headers=kind), 400)


def test_wrong_settings_name_the_field(stage):
    body = _refused(stage.post("start", {"settings": {"network_dmi": 4}}), 400)
    assert body["field"] == "network_dmi" and "network_dim" in body["remedy"]
    assert _refused(stage.post("check", {"settings": {"train_data_dir": "/nowhere"}}), 400)["field"] == "train_data_dir"
    assert (
        _refused(stage.post("start", {"settings": stage.settings | {"output_name": "a/b"}}), 400)["field"]
        == "output_name"
    )
    stage.host.allowed = False
    assert _refused(stage.post("check", {"settings": stage.settings}), 403)["field"] == "train_data_dir"


def test_a_huge_body_is_refused_before_it_is_read_whole(stage):
    body = b'{"settings": "' + b"x" * (3 * 2**20) + b'"}'
    answer = stage.client.post(f"{PREFIX}/start", content=body, headers={"Content-Type": "application/json"})
    assert "too large" in _refused(answer, 400)["error"]


def test_dropped_pictures_become_a_set_that_can_be_checked(stage, tmp_path):
    first = stage.upload((tmp_path / "set/2_cat/0.png").read_bytes(), path="3_dog/0.png").json()
    second = stage.upload(b"a dog", path="3_dog/0.txt", set=first["set"]).json()
    assert second["folder"] == first["folder"] and second["path"] == "3_dog/0.txt"
    found = stage.post("check", {"settings": stage.settings | {"train_data_dir": first["folder"]}}).json()
    assert found["pictures"]["items"][0]["caption"] == "a dog"
    _refused(stage.upload(b"x", path="../x.png", set=first["set"]), 400)
    _refused(stage.upload(b"x", path="x.png", set="../../x"), 404)
    assert [p.name for p in stage.host.data_dir().iterdir()] == ["uploads"], "no temporary folder stays"


def test_a_card_gives_its_recipe(stage):
    stage.runner.start(recipe(stage.settings["train_data_dir"], output_folder="animals/small"))
    assert stage.runner.wait(20)
    found = stage.get("lora", name="cat").json()
    assert found["file"] == "animals/small/cat.safetensors" and found["source"] in ("ours", "other", "none")
    _refused(stage.get("lora", name="../cat"), 404)
    (stage.host.lora_dir() / "bad.safetensors").write_bytes(b"no header")
    _refused(stage.get("lora", name="bad"), 400)


def test_registering_again_replaces_and_works_before_a_page_at_the_root(stage, tmp_path):
    stage.app.mount("/", FastAPI())
    other = StageHost(tmp_path / "other")
    other.checkpoint = "second.safetensors"
    add_routes(stage.app, other, stage.runner)
    assert stage.get("status").json()["host"]["checkpoint"] == "second.safetensors"
    assert sum(getattr(route, "path", "") == PREFIX for route in stage.app.router.routes) == 1
    assert stage.get("nothing").status_code == 404


def test_a_fault_of_ours_is_json_too(stage, caplog):
    stage.host.status = lambda: 1 / 0
    assert "ZeroDivisionError" in _refused(stage.get("status"), 500)["error"]
    assert "Traceback" in caplog.text


def test_a_slow_answer_does_not_hold_up_the_others(stage):
    """The event loop stays free while a handler works."""
    entered, leave = threading.Event(), threading.Event()
    quick = stage.host.status()

    def slow():
        entered.set()
        leave.wait(10)
        return quick

    stage.host.status = slow

    async def both():
        import httpx

        transport = httpx.ASGITransport(app=stage.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://ui") as client:
            waiting = asyncio.create_task(client.get(f"{PREFIX}/status"))
            while not entered.is_set():
                await asyncio.sleep(0.01)
            listed = await asyncio.wait_for(client.get(f"{PREFIX}/runs"), 5)
            leave.set()
            return listed.status_code, (await waiting).status_code

    assert asyncio.run(both()) == (200, 200)
