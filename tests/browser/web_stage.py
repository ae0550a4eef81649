"""A real web UI's page on the scripted engine: host, routes, page and pictures are the web UI's, training is played."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(1, str(Path(__file__).parents[1] / "host"))

from harness import Spec, WebUI

from lib_lora_train.settings.load import from_mapping


def running(folder: Path) -> WebUI:
    return WebUI(Spec.from_environment(), folder)


class WebStage:
    """As `stage.Stage`, for one test: the engine begins anew, and nothing of earlier runs is left."""

    # pictures are drawn by a real model here, on machines that may be slow
    recipe = {"optimizer_type": "AdamW", "resolution": "64", "min_bucket_reso": 64, "sample_steps": 2}

    def __init__(self, ui: WebUI):
        self.address, self.ui = f"{ui.base_url}/", ui
        self.engine, self.host, self.runner = Engine(ui), Folders(ui), Runner(ui)

    def __enter__(self) -> WebStage:
        self.ui.load(self.ui.spec.checkpoint.name)
        self.ui.post("/probe/engine_begin")
        return self

    def __exit__(self, *_: object) -> None:
        self.ui.post("/probe/engine_end")


class Engine:
    """The scripted engine in the web UI: its attributes, but no functions."""

    def __init__(self, ui: WebUI):
        vars(self)["ui"] = ui

    def __setattr__(self, name: str, value: Any) -> None:
        if callable(value):
            pytest.skip("a function of this test cannot be called in the web UI")
        self.ui.post("/probe/engine_set", {"name": name, "value": value})

    @property
    def runs(self) -> list:
        return [from_mapping(run) for run in self.ui.post("/probe/engine_seen")["runs"]]

    @property
    def changed(self) -> dict[str, Any]:
        return self.ui.post("/probe/engine_seen")["changed"]


class Folders:
    """Where the web UI's host adapter keeps things."""

    status = txt2img = None

    def __init__(self, ui: WebUI):
        vars(self)["ui"] = ui

    def __setattr__(self, name: str, value: Any) -> None:
        pytest.skip("a part of the web UI cannot be replaced")

    def lora_dir(self) -> Path:
        return self.ui.lora_dir

    def data_dir(self) -> Path:
        return self.ui.data_dir / "train-lora"


class Runner:
    """What tests ask of the job runner, through the routes."""

    def __init__(self, ui: WebUI):
        self.ui = ui

    def status(self) -> dict | None:
        return self.ui.get("/train-lora/v1/status")["job"]

    def tell(self, wish: str) -> None:
        self.ui.post(f"/train-lora/v1/{wish}")

    def wait(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.status() and time.monotonic() < deadline:
            time.sleep(0.1)
        return not self.status()
