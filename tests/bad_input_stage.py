"""The whole program on the tiny checkpoint, for what users get wrong: HTTP in, events out, and a good run after it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image
from safetensors.torch import load_file

from lib_lora_train.app.jobs import JobRunner
from lib_lora_train.app.routes import PREFIX, add_routes
from lib_lora_train.hosts.standalone import StandaloneHost

TINY = {
    "resolution": "64", "min_bucket_reso": 64, "max_bucket_reso": 128, "max_token_length": 75, "network_dim": 2,
    "network_alpha": 2, "lr_scheduler": "constant", "learning_rate": 1e-2, "max_train_steps": 2, "sample_steps": 1,
    "mixed_precision": "no", "optimizer_type": "AdamW", "make_thumbnail": False, "trigger_word": "cat",
}  # fmt: skip


def noise(side: int = 64, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8))


def pictures(folder: Path, count: int = 2) -> Path:
    """`count` captioned pictures in `folder`, which is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        noise(seed=index).save(folder / f"{index}.png")
        (folder / f"{index}.txt").write_text(f"cat, number {index}", encoding="utf-8")
    return folder


class Program:
    """Stand-alone host, runner and routes. `said` is what the log holds (pytest's caplog)."""

    def __init__(self, root: Path, checkpoint: Path, said: Any):
        self.root, self.said = root, said
        self.host = StandaloneHost(checkpoint, root / "Lora", root / "train-lora", device="cpu")
        self.runner = JobRunner(self.host)
        self.app = FastAPI()
        add_routes(self.app, self.host, self.runner)
        self.client = TestClient(self.app)
        self.good = pictures(root / "good" / "1_cat").parent

    @property
    def loras(self) -> Path:
        return self.host.lora_dir()

    def settings(self, **changes: Any) -> dict[str, Any]:
        return {**TINY, "train_data_dir": str(self.good), "output_name": "cat", **changes}

    def post(self, route: str, **body: Any):
        return self.client.post(f"{PREFIX}/{route}", json=body)

    def get(self, route: str, **query: Any) -> dict[str, Any]:
        answer = self.client.get(f"{PREFIX}/{route}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def refused(self, route: str = "start", code: int = 400, **changes: Any) -> dict[str, str]:
        """The answer to a recipe that may not be trained. It is in the log, and no run was made of it."""
        before = self.runs()
        answer = self.post(route, settings=self.settings(**changes))
        assert answer.status_code == code, answer.text
        return self.explained(answer.json(), before)

    def explained(self, body: dict[str, str], runs_before: list[str]) -> dict[str, str]:
        assert body["error"] and body["remedy"], body
        assert body["error"] in self.said.text
        assert self.runs() == runs_before, "nothing is begun"
        return body

    def start(self, confirm: bool = False, **changes: Any) -> str:
        answer = self.post("start", settings=self.settings(**changes), confirm_overwrite=confirm)
        assert answer.status_code == 200, answer.text
        return answer.json()["run"]

    def events(self, run: str = "") -> list[dict[str, Any]]:
        return self.get("events", run=run)["events"]

    def end(self, run: str = "") -> list[dict[str, Any]]:
        assert self.runner.wait(120)
        return self.events(run)

    def trained(self, confirm: bool = False, **changes: Any) -> list[dict[str, Any]]:
        """The events of a run that goes well."""
        told = self.end(self.start(confirm, **changes))
        assert told[-1]["event"] == "Finished", told[-1]
        return told

    def failed(self, **changes: Any) -> dict[str, Any]:
        """The Failed event of a run that begins and cannot end well; its words are in the log."""
        return self.failure(self.end(self.start(**changes)))

    def failure(self, told: list[dict[str, Any]]) -> dict[str, Any]:
        last = next(event for event in reversed(told) if event["event"] != "Warned")
        assert last["event"] == "Failed", last
        assert last["text"] and last["remedy"] and last["text"] in self.said.text
        assert "fault of the program" not in last["remedy"], last
        return last

    def runs(self) -> list[str]:
        folder = self.host.data_dir() / "runs"
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []

    def until(self, condition, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "did not happen"
            time.sleep(0.01)

    def is_whole(self) -> None:
        """Every LoRA loads, and nothing half-written lies about."""
        assert not [path for path in self.root.rglob("*.tmp") if path.is_file()]
        for path in self.loras.rglob("*.safetensors"):
            assert load_file(path), path

    def still_works(self) -> None:
        """A good recipe trains, whatever was asked for before."""
        if self.runner.status():
            self.runner.tell("stop")
        assert self.runner.wait(60)
        told = self.trained(confirm=True, output_name="afterwards", output_folder="afterwards")
        assert [e["path"] for e in told if e["event"] == "Published"] == ["afterwards/afterwards.safetensors"]
        self.is_whole()


def texts(told: list[dict[str, Any]], kind: str = "Warned") -> str:
    """What the events of a kind say, with their remedies."""
    return "\n".join(f"{event['text']} {event.get('remedy', '')}" for event in told if event["event"] == kind)
