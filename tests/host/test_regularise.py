"""Matching regularisation pictures by the real web UI's own txt2img."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from harness import WebUI
from PIL import Image

pytestmark = pytest.mark.host
CAPTION = "blob (shiny), left AND right"


@pytest.fixture
def settings(tmp_path) -> dict:
    concept = tmp_path / "set" / "2_blob"
    concept.mkdir(parents=True)
    for index, size in enumerate([(64, 64), (128, 64)]):
        Image.new("RGB", size, (40 * index, 90, 200)).save(concept / f"{index}.png")
        (concept / f"{index}.txt").write_text(CAPTION, encoding="utf-8")
    return {
        "train_data_dir": str(concept.parent), "resolution": "64", "min_bucket_reso": 32, "max_bucket_reso": 128,
        "bucket_reso_steps": 8, "sample_steps": 2, "seed": 5, "clip_skip": 2, "output_name": "x",
    }  # fmt: skip


def done(webui: WebUI, settings: dict) -> list[dict]:
    run = webui.post("/train-lora/v1/regularise", {"settings": settings})["run"]
    deadline = time.monotonic() + 300
    while webui.get("/train-lora/v1/status")["job"]:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return webui.get(f"/train-lora/v1/events?run={run}&after=0")["events"]


def test_they_are_the_hosts_own_pictures_and_undone_without_a_trace(webui: WebUI, settings: dict):
    webui.load(webui.spec.checkpoint.name)
    before = webui.get("/sdapi/v1/options")
    saved = sorted(webui.data_dir.rglob("outputs/**/*.png"))
    events = done(webui, settings)
    assert events[-1]["event"] == "Done" and "2 of 2" in events[-1]["text"], events[-1]
    reg = Path(settings["train_data_dir"]) / "reg" / "2_blob"
    made = {path.name: Image.open(path).convert("RGB") for path in sorted(reg.glob("*.png"))}
    assert [image.size[0] > image.size[1] for image in made.values()] == [False, True]
    assert webui.get("/sdapi/v1/options") == before
    prompt = CAPTION.lower().replace("(", r"\(").replace(")", r"\)")
    asked = {"sampler_name": "DDIM", "cfg_scale": 7, "override_settings": {"CLIP_stop_at_last_layers": 2}}
    own = webui.txt2img(prompt, seed=5, steps=2, size=64, **asked)
    webui.post("/sdapi/v1/options", {"CLIP_stop_at_last_layers": 1})  # A1111 may keep what was asked for one picture
    assert own.tobytes() == made["0.png"].tobytes()
    assert sorted(webui.data_dir.rglob("outputs/**/*.png")) == saved
    code, refusal = webui.request("POST", "/train-lora/v1/regularise", {"settings": settings})
    assert code == 409 and "already" in refusal["error"]
    assert webui.post("/train-lora/v1/regularise/undo", {"settings": settings}) == {"deleted": 2}
    assert not reg.parent.exists()


def test_the_user_generates_meanwhile(webui: WebUI, settings: dict):
    webui.load(webui.spec.checkpoint.name)
    plain = webui.txt2img("a house", seed=3)
    settings = {**settings, "sample_steps": 40}
    webui.post("/train-lora/v1/regularise", {"settings": settings})
    assert webui.txt2img("a house", seed=3) == plain
    while webui.get("/train-lora/v1/status")["job"]:
        time.sleep(0.2)
    assert webui.post("/train-lora/v1/regularise/look", {"settings": settings})["missing"] == 0
