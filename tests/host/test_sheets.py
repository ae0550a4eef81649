"""Sheets of pictures by the real web UI: a run's snapshots, called by names that only these pictures know."""

from __future__ import annotations

import time
from io import BytesIO

import blob_pictures as pictures
import pytest
from harness import WebUI
from PIL import Image
from test_e2e_story import QUICK
from webui_page import until

pytestmark = pytest.mark.host


@pytest.fixture(scope="module")
def run(webui: WebUI, tmp_path_factory) -> dict:
    """A run with a snapshot before its last."""
    webui.load(webui.spec.checkpoint.name)
    folder = pictures.make(tmp_path_factory.mktemp("pictures"))
    settings = {**QUICK, "train_data_dir": str(folder), "output_name": "sheet", "trigger_word": "blob"}
    settings |= {"save_every_n_steps": 10, "make_thumbnail": False, "publish_snapshots": False, "sample_cfg": 7}
    webui.post("/train-lora/v1/start", {"settings": settings, "confirm_overwrite": True})
    until(lambda: not webui.get("/train-lora/v1/status")["job"], 300)
    return next(run for run in webui.get("/train-lora/v1/runs")["runs"] if run["name"] == "sheet")


def drawn(webui: WebUI, run: dict, **order) -> tuple[dict, list[Image.Image]]:
    job = webui.post("/train-lora/v1/sheet", {"run": run["id"], **order})
    until(lambda: not webui.get("/train-lora/v1/status")["job"], 300)
    last = webui.get(f"/train-lora/v1/events?run={job['run']}&after=0")["events"][-1]
    assert last["event"] == "Done", last
    sheet = webui.get(f"/train-lora/v1/sheets?run={run['id']}")["sheets"][0]
    return sheet, [picture(webui, run, sheet, index) for index in range(len(sheet["cells"]))]


def picture(webui: WebUI, run: dict, sheet: dict, index: int) -> Image.Image:
    import urllib.request

    address = f"{webui.base_url}/train-lora/v1/sheets/picture?run={run['id']}&sheet={sheet['id']}&cell={index}"
    with urllib.request.urlopen(address, timeout=60) as answer:
        return Image.open(BytesIO(answer.read())).convert("RGB")


def test_a_cell_is_what_the_web_ui_draws_with_that_file(webui: WebUI, run: dict):
    plain = webui.txt2img("a house", seed=3)
    before = webui.get("/sdapi/v1/options")
    first, last = (row["path"] for row in run["snapshots"])
    sheet, images = drawn(webui, run, kind="strengths", snapshots=[first, last], strengths=[0.0, 1.0], prompts=["blob"])
    by = {(cell["row"], cell["column"]): image.tobytes() for cell, image in zip(sheet["cells"], images, strict=True)}
    assert by[0, 0] == by[1, 0], "nothing of either at strength 0"
    assert len({by[0, 0], by[0, 1], by[1, 1]}) == 3, "both snapshots act, and differently"
    webui.post("/train-lora/v1/keep", {"run": run["id"], "snapshot": first})
    own = webui.txt2img(
        "blob <lora:sheet:1>", seed=1, steps=sheet["steps"], size=64, cfg_scale=7, sampler_name="DPM++ 2M"
    )
    assert own.tobytes() == by[0, 1]
    assert webui.txt2img("a house", seed=3) == plain and webui.get("/sdapi/v1/options") == before
    names = [lora["name"] for lora in webui.get("/sdapi/v1/loras")]
    assert "sheet" in names and not [name for name in names if name.startswith("train_lora_")]


def test_the_two_strengths_reach_their_parts(webui: WebUI, run: dict):
    path = run["snapshots"][-1]["path"]
    sheet, images = drawn(
        webui, run, kind="parts", snapshots=[path], strengths=[0.0, 1.0], te=[0.0, 1.0], prompts=["blob"]
    )
    by = {(cell["unet"], cell["te"]): image.tobytes() for cell, image in zip(sheet["cells"], images, strict=True)}
    webui.post("/train-lora/v1/keep", {"run": run["id"], "snapshot": path})
    own = webui.txt2img(
        "blob <lora:sheet:0:1>", seed=1, steps=sheet["steps"], size=64, cfg_scale=7, sampler_name="DPM++ 2M"
    )
    assert own.tobytes() == by[1.0, 0.0] and by[1.0, 0.0] != by[0.0, 0.0]


def test_another_checkpoint_is_drawn_with_and_the_users_comes_back(webui: WebUI, run: dict):
    titles = webui.get("/train-lora/v1/checkpoints")["checkpoints"]
    other = next(title for title in titles if title.startswith("other"))
    own = next(title for title in titles if not title.startswith("other"))
    plain = webui.txt2img("a house", seed=3)
    path = run["snapshots"][-1]["path"]
    _, images = drawn(
        webui, run, kind="checkpoints", snapshots=[path], checkpoints=[own, other], strengths=[1.0], prompts=["blob"]
    )
    assert images[0].tobytes() != images[1].tobytes()
    assert webui.txt2img("a house", seed=3) == plain


def test_the_user_generates_while_a_sheet_is_drawn(webui: WebUI, run: dict):
    plain = webui.txt2img("a house", seed=3)
    paths = [row["path"] for row in run["snapshots"]]
    webui.post(
        "/train-lora/v1/sheet",
        {"run": run["id"], "kind": "strengths", "snapshots": paths, "strengths": [0.5, 1.0], "prompts": ["blob"] * 4},
    )
    assert webui.txt2img("a house", seed=3) == plain
    while webui.get("/train-lora/v1/status")["job"]:
        time.sleep(0.2)
