"""A host and an engine for the app's tests: real lock, scripted steps, no model."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import torch
from PIL import Image

from lib_lora_train.app.jobs import JobRunner
from lib_lora_train.errors import CheckpointSwitched, HostError
from lib_lora_train.events import Finished, Paused, Phase, Progress, Resumed, Snapshot
from lib_lora_train.export import lora_file
from lib_lora_train.families.loan import Identity
from lib_lora_train.hosts.base import Guard, HostStatus
from lib_lora_train.settings.load import from_mapping


class StageHost:
    """`checkpoint` is what is loaded; `somebody_waits` makes the next `breathe` let a picture through."""

    name = "stage"

    def __init__(self, root: Path):
        self.root, self.checkpoint = root, "base.safetensors"
        self.lock, self.breaths, self.away_count = threading.Lock(), 0, 0
        self.somebody_waits = threading.Event()
        self.between = lambda: None  # what happens while the lock is free
        self.reason, self.allowed = "", True  # of the guard; of `allowed_folder`
        self.lora_dir().mkdir(parents=True, exist_ok=True)

    def status(self) -> HostStatus:
        return HostStatus(host=self.name, checkpoint=self.checkpoint, family="SD1", prediction="epsilon")

    def identity(self) -> Identity:
        return Identity(title=self.checkpoint, path=f"/models/{self.checkpoint}")

    @contextmanager
    def lend(self):
        if not self.checkpoint:
            raise HostError("Nothing is loaded.", "Load a checkpoint.")
        self.lock.acquire()
        loan = SimpleNamespace(identity=self.identity(), family=SimpleNamespace(name="SD1"))
        try:
            yield loan
        finally:
            if self.lock.locked():
                self.lock.release()

    @contextmanager
    def away(self, loan):
        self.away_count += 1
        if self.lock.locked():
            self.lock.release()
        yield
        self.lock.acquire()
        if self.identity().key != loan.identity.key:
            self.lock.release()
            raise CheckpointSwitched(f"{self.checkpoint} is loaded now.", f"Load {loan.identity.title} again.")

    def breathe(self, loan) -> bool:
        self.breaths += 1
        if not self.somebody_waits.is_set():
            return False
        self.somebody_waits.clear()
        with self.away(loan):
            self.between()
        return True

    def txt2img(self, request):
        return [Image.new("RGB", (64, 64), "navy")]

    def checkpoints(self) -> list[str]:
        return ["base.safetensors", "other.safetensors"]

    def lora_dir(self) -> Path:
        return self.root / "models" / "Lora"

    def data_dir(self) -> Path:
        return self.root / "train-lora"

    def release(self, path: Path) -> None: ...

    def publish(self, path: Path) -> None: ...

    def guard(self) -> Guard:
        return Guard(check=lambda request: self.reason)

    def allowed_folder(self, path: Path) -> bool:
        return self.allowed


class StageEngine:
    """`steps` steps, each only when `go` lets it; a snapshot at the end. `script[step]` is called after that step."""

    def __init__(self, host: StageHost, steps: int = 3):
        self.host, self.steps, self.script = host, steps, {}
        self.go = threading.Semaphore(1000)
        self.closed = False
        self.locked: list[bool] = []  # whether the lock was held in each step
        self.resumed: list[bool] = []

    def __call__(self, loan, settings, control, folder, resume=False):
        self.resumed.append(resume)
        try:
            yield Phase(name="train")
            done = yield from self._steps(control)
            yield self._snapshot(folder, settings, done)
            yield Finished(
                step=done, path="snapshots/final.safetensors", reason="stopped" if control.stopped else "done"
            )
        finally:
            self.closed = True

    def _steps(self, control):
        for step in range(1, self.steps + 1):
            if control.paused:
                yield Paused(reason="user")
                yield Resumed()
            if control.stopped:
                return step - 1
            assert self.go.acquire(timeout=20)
            self.locked.append(self.host.lock.locked())
            self.script.get(step, lambda: None)()
            yield Progress(
                step=step,
                total_steps=self.steps,
                epoch=1,
                epochs=1,
                loss=1 / step,
                loss_smooth=1 / step,
                lr={"unet": 1e-4},
            )
        return self.steps

    def _snapshot(self, folder, settings, step):
        path = folder.snapshots / "final.safetensors"
        metadata = {"ss_output_name": settings.naming.output_name, "ss_session_id": "7"}
        lora_file.save(path, {"lora_te_x.alpha": torch.ones(1)}, metadata)
        return Snapshot(step=step, epoch=1, path=folder.relative(path), final=True)


def pictures(root: Path, count: int = 3) -> Path:
    """A concept folder with captions; returns its parent."""
    concept = root / "2_cat"
    concept.mkdir(parents=True)
    for index in range(count):
        Image.new("RGB", (64, 64 + 16 * index), (index * 40, 90, 120)).save(concept / f"{index}.png")
        (concept / f"{index}.txt").write_text(f"cat, number {index}", encoding="utf-8")
    return root


def recipe(folder: Path, **values):
    return from_mapping(
        {
            "train_data_dir": str(folder),
            "output_name": "cat",
            "trigger_word": "cat",
            "optimizer_type": "AdamW",
            **values,
        }
    )


def until(condition, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.01)


def last(runner: JobRunner, kind: type):
    """The newest event of that kind."""
    return [event for event in runner.job.journal.all() if isinstance(event, kind)][-1]
