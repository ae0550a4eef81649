"""The stand-alone page over HTTP: scripts in its head, cards, thumbnails by name, this machine only."""

from __future__ import annotations

import json
import os

import pytest
import torch
from app_stage import StageHost
from PIL import Image

pytest.importorskip("gradio")
from starlette.testclient import TestClient  # noqa: E402

from lib_lora_train.app.jobs import JobRunner  # noqa: E402
from lib_lora_train.export import lora_file  # noqa: E402
from lib_lora_train.settings.load import from_mapping  # noqa: E402
from lib_lora_train.ui import cards  # noqa: E402
from lib_lora_train.ui.standalone import OURS, SCRIPTS, application  # noqa: E402


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    host = StageHost(tmp_path_factory.mktemp("page"))
    recipe = from_mapping({"output_name": "blob", "resolution": "128"})
    with TestClient(application(host, recipe, JobRunner(host))) as client:
        yield host, client


def _lora(host, name: str):
    path = host.lora_dir() / f"{name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    lora_file.save(path, {"lora_te_x.alpha": torch.ones(1)}, {})
    return path


def test_the_page_loads_every_script_before_gradio_starts(stage):
    _, client = stage
    answer = client.get("/")
    assert answer.status_code == 200
    head = answer.text.partition("</head>")[0]
    for path in ("standalone.js", "style.css", *(f"javascript/{script.name}" for script in SCRIPTS)):
        assert f"{OURS}/{path}" in head
        assert client.get(f"{OURS}/{path}").status_code == 200
    assert head.index("standalone.js") < head.index("javascript/train_lora_")


def test_our_routes_answer_beside_the_page(stage):
    _, client = stage
    assert client.get("/train-lora/v1/status").json()["host"]["host"] == "stage"
    assert client.get("/config").status_code == 200


def test_another_name_for_this_machine_is_refused(stage):
    _, client = stage
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400
    assert client.get(f"{OURS}/cards", headers={"host": "evil.example"}).status_code == 400


def test_cards_say_what_a_click_inserts(stage):
    host, client = stage
    path = _lora(host, "sub/tidy")
    notes = {"activation text": "tidy, room", "preferred weight": 0.7}
    path.with_suffix(".json").write_text(json.dumps(notes), encoding="utf-8")
    Image.new("RGB", (8, 8)).save(path.with_suffix(".png"))
    _lora(host, "bare").with_suffix(".json").write_text("[not a table", encoding="utf-8")
    found = {card["name"]: card for card in client.get(f"{OURS}/cards").json()}
    assert found["tidy"]["prompt"] == "<lora:tidy:0.7> tidy, room" and found["tidy"]["thumbnail"] > 0
    assert found["bare"]["prompt"] == "<lora:bare:1>" and found["bare"]["thumbnail"] == 0


def test_thumbnails_are_given_by_a_loras_name_only(stage, tmp_path):
    host, client = stage
    Image.new("RGB", (8, 8)).save(_lora(host, "shown").with_suffix(".png"))
    Image.new("RGB", (8, 8)).save(host.lora_dir().parent / "secret.png")
    (host.lora_dir().parent / "secret.safetensors").write_bytes(b"x")
    answer = client.get(f"{OURS}/thumbnail", params={"name": "shown"})
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/png"
    for name in ("../secret", "secret", str(host.lora_dir().parent / "secret"), "", "nothing"):
        assert client.get(f"{OURS}/thumbnail", params={"name": name}).status_code == 404
    assert client.get(f"{OURS}/javascript/../../pyproject.toml").status_code == 404


def test_the_newest_thumbnail_wins_a_new_address(stage):
    host, _ = stage
    picture = _lora(host, "fresh").with_suffix(".png")
    Image.new("RGB", (8, 8)).save(picture)
    first = next(card for card in cards.cards(host.lora_dir()) if card["name"] == "fresh")["thumbnail"]
    picture.touch()
    os.utime(picture, ns=(first + 10**9, first + 10**9))
    again = next(card for card in cards.cards(host.lora_dir()) if card["name"] == "fresh")["thumbnail"]
    assert again != first
