"""A whole run in web UIs started with little memory or in other precisions: it ends well and leaves no trace."""

from __future__ import annotations

import math
import os
from pathlib import Path

import blob_pictures as pictures
import pytest
from harness import WebUI
from kinds import Way, ways
from test_flags import skip_where_it_cannot_draw
from webui_page import until

pytestmark = [pytest.mark.host, pytest.mark.slow, pytest.mark.timeout(900)]
PLAIN, STYLED = "blob, red eyes", "<lora:blob:1> blob, red eyes"
STEPS = 8  # few: a user draws all the while
SETTINGS = {
    "output_name": "blob",
    "trigger_word": "blob",
    "resolution": "64",
    "min_bucket_reso": 64,
    "max_bucket_reso": 128,
    "max_token_length": 75,
    "network_dim": 4,
    "network_alpha": 4,
    "optimizer_type": "AdamW",
    "lr_scheduler": "constant",
    "learning_rate": 5e-3,
    "max_train_steps": STEPS,
    "sample_every_n_steps": STEPS // 2,
    "sample_steps": 2,
}


@pytest.mark.parametrize("way", ways(os.environ.get("WEBUI_DIR", "")))
def test_a_whole_run(new_webui, way: Way, tmp_path: Path):
    with new_webui(args=way.flags, without=way.without) as ui:
        skip_where_it_cannot_draw(ui, way)
        weights, picture = ui.post("/probe/weights"), ui.txt2img(PLAIN)
        told = train(ui, pictures.make(tmp_path / "pictures", count=4), picture)
        assert [event["event"] for event in told if event["event"] in ("Finished", "Failed")] == ["Finished"], told[-1]
        losses = [event["loss"] for event in told if event["event"] == "Progress"]
        assert len(losses) == STEPS and all(math.isfinite(loss) for loss in losses)
        assert sum(event["event"] == "Sampled" for event in told) == 2
        assert (ui.lora_dir / "blob.png").exists()
        assert ui.txt2img(STYLED) != picture
        assert ui.txt2img(PLAIN) == picture
        assert ui.post("/probe/weights") == weights


def train(ui: WebUI, folder: Path, picture) -> list[dict]:
    """The events of a run during which a user draws pictures."""
    run = ui.post("/train-lora/v1/start", {"settings": {**SETTINGS, "train_data_dir": str(folder)}})["run"]
    while ui.get("/train-lora/v1/status")["job"]:
        assert ui.txt2img(PLAIN) == picture
    return until(lambda: ui.get(f"/train-lora/v1/events?run={run}&after=0")["events"])
