"""Two clicks, two browsers, recipes of other versions, and requests that no page of ours sends."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import quote

import pytest
import torch
from bad_input_stage import TINY, texts
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from lib_lora_train.app.routes import PREFIX
from lib_lora_train.export import lora_file
from lib_lora_train.settings.found import PATH_FIELDS
from lib_lora_train.settings.load import RECIPE_VERSION, to_mapping
from lib_lora_train.settings.schema import Settings

ROOT = Path(__file__).parents[1]
JSON = {"Content-Type": "application/json"}


def _at_once(*acts):
    """The results of `acts`, all begun at the same moment."""
    barrier, results = threading.Barrier(len(acts)), [None] * len(acts)

    def act(number, do):
        barrier.wait()
        results[number] = do()

    threads = [threading.Thread(target=act, args=item) for item in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_two_clicks_on_train_are_one_run_and_a_clear_no(program):
    for _ in range(3):
        wanted = program.settings(output_name="both", max_train_steps=3)
        clients = [TestClient(program.app) for _ in range(4)]
        answers = _at_once(
            *(
                lambda c=client: c.post(f"{PREFIX}/start", json={"settings": wanted, "confirm_overwrite": True})
                for client in clients
            )
        )
        assert sorted(a.status_code for a in answers) == [200, 409, 409, 409]
        for answer in answers:
            if answer.status_code == 409:
                assert "“both” is being trained already" in answer.json()["error"]
                assert "Wait for it, or stop it first." in answer.json()["remedy"]
        assert "is being trained already" in program.said.text
        (run,) = {a.json()["run"] for a in answers if a.status_code == 200}
        assert [e["step"] for e in program.end(run) if e["event"] == "Progress"] == [1, 2, 3]
    assert len(program.runs()) == 3 and [p.name for p in program.loras.glob("*.safetensors")] == ["both.safetensors"]


_FIRST_AT_ONCE = """
import sys, threading
from lib_lora_train.settings.load import from_mapping
sys.setswitchinterval(1e-6)
barrier = threading.Barrier(8)
threads = [threading.Thread(target=lambda: (barrier.wait(), from_mapping({"network_dim": 3}))) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


def test_the_first_requests_of_a_fresh_process_may_come_at_the_same_moment():
    """They crashed it: msgspec prepares a type when it is first used, and not for two threads at once."""
    processes = [subprocess.Popen([sys.executable, "-c", _FIRST_AT_ONCE], cwd=ROOT) for _ in range(6)]
    assert [process.wait(60) for process in processes] == [0] * 6


def test_a_second_browser_sees_the_same_run_and_its_wishes_are_the_first_ones_too(program):
    first, second = TestClient(program.app), TestClient(program.app)
    run = first.post(f"{PREFIX}/start", json={"settings": program.settings(max_train_steps=5000)}).json()["run"]
    seen = second.get(f"{PREFIX}/status").json()["job"]
    assert seen["id"] == run and seen["name"] == "cat"
    program.until(lambda: any(e["event"] == "Progress" for e in program.events(run)))
    second.post(f"{PREFIX}/pause", json={})
    program.until(lambda: first.get(f"{PREFIX}/status").json()["job"]["state"] == "paused")
    told = [client.get(f"{PREFIX}/events", params={"run": run}).json() for client in (first, second)]
    assert told[0] == told[1] and told[0]["events"][-1]["event"] == "Paused"
    _at_once(*(lambda c=c: c.post(f"{PREFIX}/resume", json={}) for c in (first, second)))
    _at_once(*(lambda c=c: c.post(f"{PREFIX}/stop", json={}) for c in (first, second)))
    assert program.end(run)[-1]["reason"] == "stopped"
    again = second.post(f"{PREFIX}/stop", json={})
    assert again.status_code == 409 and "No run is on" in again.json()["error"] and again.json()["remedy"]
    assert first.get(f"{PREFIX}/events").json() == second.get(f"{PREFIX}/events").json()


def test_a_recipe_from_a_newer_version_is_told_apart_from_a_wrong_one(program):
    newer = {"a_new_option": 1, "network_dim": 4, "recipe_version": RECIPE_VERSION + 1}
    body = program.refused(**newer)
    assert f"version {RECIPE_VERSION + 1}" in body["error"] and f"up to {RECIPE_VERSION}" in body["error"]
    assert "Update the extension" in body["remedy"] and body["field"] == "recipe_version"
    body = program.refused(a_new_option=1, network_dim=4)
    assert "Unknown option `a_new_option`" in body["error"]
    assert "`network_dim`" in program.refused(network_dmi=4)["remedy"]


def test_a_lora_of_a_newer_version_gives_what_can_be_read_and_says_why_not_all(program):
    program.trained()
    path = program.loras / "cat.safetensors"
    recipe = json.loads(lora_file.read_metadata(path)["train_lora_recipe"])
    newer = {**recipe, "recipe_version": 99, "a_new_option": "x", "network_type": "LoRA2"}
    lora_file.save(program.loras / "newer.safetensors", load_file(path), {"train_lora_recipe": json.dumps(newer)})
    found = program.get("lora", name="newer")
    assert found["source"] == "ours" and found["settings"]["network_dim"] == 2
    said = "\n".join(found["not_carried"])
    assert "newer version" in said and "99" in said and "a_new_option" in said and "LoRA2" in said
    program.trained(**{**found["settings"], "train_data_dir": str(program.good), "output_name": "again"})


def test_a_lora_with_hostile_metadata_or_none_at_all(program):
    program.loras.mkdir()
    recipes = {"none": None, "deep": "[" * 10_000, "wild": '{"network_dim": 1e999, "output_name": ["<script>"]}'}
    for name, recipe in recipes.items():
        metadata = {"train_lora_recipe": recipe} if recipe else {}
        lora_file.save(program.loras / f"{name}.safetensors", {"x.alpha": torch.ones(1)}, metadata)
        assert "network_dim" not in program.get("lora", name=name)["settings"]
    (program.loras / "cut.safetensors").write_bytes(b"\xff" * 40)
    answer = program.client.get(f"{PREFIX}/lora", params={"name": "cut"})
    assert answer.status_code == 400 and "cut.safetensors" in answer.json()["error"] and answer.json()["remedy"]
    answer = program.client.get(f"{PREFIX}/lora", params={"name": "../cat"})
    assert answer.status_code == 404
    (program.loras / "cut.safetensors").unlink()


HOSTILE = {
    "a number without end": b'{"settings": {"learning_rate": 1e400}}',
    "not a number": b'{"settings": {"learning_rate": NaN}}',
    "digits without end": b'{"settings": {"max_train_steps": 1' + b"0" * 5000 + b"}}",
    "many digits": b'{"settings": {"max_train_steps": 1' + b"0" * 400 + b"}}",
    "brackets": b"[" * 200_000,
    "groups in groups": b'{"settings":' * 60_000,
    "bytes that are no text": b'{"settings": {"output_name": "\xff"}}',
    "half a letter": b'{"settings": {"output_name": "\\ud800"}}',
    "a list": b"[]",
    "nothing": b"null",
    "no table": b'{"settings": 3}',
    "a null byte": b'{"settings": {"train_data_dir": "a\\u0000b"}}',
    "infinity as text": b'{"settings": {"learning_rate": "inf"}}',
    "huge": b" " * 3_000_000,
    "a file": b"\x00\x01\x02" * 1000,
}


@pytest.mark.parametrize("route", ["start", "check", "continue"])
def test_hostile_json_is_refused_at_once_and_with_words(program, route):
    for what, content in HOSTILE.items():
        began = time.monotonic()
        answer = program.client.post(f"{PREFIX}/{route}", content=content, headers=JSON)
        assert answer.status_code in (400, 404), (what, answer.status_code, answer.text)
        assert answer.json()["error"] and answer.json()["remedy"], (what, answer.text)
        assert len(answer.text) < 1000 and time.monotonic() - began < 5, what
    assert program.runs() == []


def test_a_body_of_a_hundred_megabytes_is_not_kept_in_memory(program):
    sent = [0]

    def body():
        for _ in range(100):
            sent[0] += 1
            yield b"x" * 1_000_000

    answer = program.client.post(f"{PREFIX}/start", content=body(), headers=JSON)
    assert answer.status_code == 400 and "too large" in answer.json()["error"] and "2 MB" in answer.json()["remedy"]


def test_a_form_of_another_site_cannot_send_what_looks_like_json(program):
    content = json.dumps({"settings": program.settings()}).encode()
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        answer = program.client.post(f"{PREFIX}/start", content=content, headers={"Content-Type": kind})
        assert answer.status_code == 403 and "application/json" in answer.json()["remedy"]
    answer = program.client.post(f"{PREFIX}/start", content=content, headers={**JSON, "Origin": "https://evil.example"})
    assert answer.status_code == 403 and "another web site" in answer.json()["error"]
    assert program.runs() == []


WORDS = ["", "..", "../../etc/passwd", "\0", "x" * 3000, "-1", "1e9", "9" * 30, "cat"]
ODD = st.one_of(st.text(max_size=40), st.sampled_from(WORDS))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ODD, ODD, ODD)
def test_whatever_stands_in_a_query_is_answered_in_words(program, one, two, three):
    program.post("check", settings=program.settings())
    program.said.clear()
    for route, query in (
        ("events", {"run": one, "after": two}),
        ("pictures", {"set": one, "index": two, "size": three}),
        ("lora", {"name": one}),
        (f"runs/{quote(one, safe='')}/file", {"path": two}),
    ):
        answer = program.client.get(f"{PREFIX}/{route}", params=query)
        assert answer.status_code in (200, 400, 404), (route, query, answer.text)
        assert answer.status_code == 200 or "fault" not in answer.text
    assert program.post("continue", run=one).status_code in (400, 404)


FIELDS = sorted(set(to_mapping(Settings())) - set(PATH_FIELDS))
ANYTHING = st.one_of(
    st.integers(-(10**20), 10**20), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=30),
    st.sampled_from(["nan", "-inf", "0", "1e9", "9" * 400, "true", "", "512x512", "1x99999"]), st.booleans(), st.none(),
    st.lists(st.integers(0, 2000), max_size=3), st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(FIELDS), ANYTHING, min_size=1, max_size=3))
def test_whatever_stands_in_the_fields_is_judged_in_words(program, changes):
    """Never a fault of the program, never slow; what is accepted has an estimate."""
    program.said.clear()
    began = time.monotonic()
    answer = program.post("check", settings=program.settings(**changes))
    assert answer.status_code in (200, 400), (changes, answer.text)
    assert time.monotonic() - began < 5, changes
    body = answer.json()
    if answer.status_code == 400:
        assert body["error"] and body["field"] and "fault" not in body["error"], (changes, body)
    else:
        refused = any(advice["level"] == "error" for advice in body["advice"])
        assert body["estimate"]["steps"] >= 1 and (body["estimate"]["file_mb"] > 0 or refused), changes


def test_other_recipes_tables_and_spellings_of_a_page_or_program(program):
    nested = {"network": {"network_dim": 3}, "training": {"max_train_steps": "2"}}
    flat = {k: v for k, v in program.settings().items() if k not in ("network_dim", "max_train_steps")}
    told = program.end(program.post("start", settings={**flat, **nested}).json()["run"])
    assert told[-1]["step"] == 2 and texts(told) == ""
    assert "group of options" in program.refused(training=5)["error"]
    assert TINY.keys() <= program.get("schema")["last"].keys()
