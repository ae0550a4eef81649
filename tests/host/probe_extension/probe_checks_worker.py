"""A stand-in for a run: a thread that holds a loan, computes a step again and again and lets the host breathe."""

from __future__ import annotations

import threading
import time
import traceback

import probe_model as _model
import torch

from lib_lora_train.errors import CheckpointSwitched
from lib_lora_train.hosts import detect
from lib_lora_train.hosts.base import PictureRequest


class _Worker:
    def __init__(self, step_s: float):
        self.step_s = step_s
        self.host = detect.host()
        self.begun, self.over = threading.Event(), threading.Event()
        self.outputs: list[float] = []
        self.switches: list[str] = []
        self.pauses: list[float] = []
        self.breaths = self.generation = self.foreign = 0
        self.error = ""
        self.jobs: list = []  # functions of (host, loan) to run between two steps
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            with self.host.lend() as loan:
                self.loan = loan
                self.begun.set()
                while not self.over.is_set():
                    self._step(loan)
                    while self.jobs:
                        self.jobs.pop(0)(self.host, loan)
                    self._breathe(loan)
        except Exception:  # noqa: BLE001 shown by the test
            self.error = traceback.format_exc()
        self.begun.set()

    def _step(self, loan) -> None:
        begin = time.monotonic()
        noisy = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(3)).to(loan.device).requires_grad_()
        context = loan.family.encode_text(loan, ["a house"], 75, 1)
        output = loan.family.predict(loan, noisy, torch.tensor([400], device=loan.device), context, None)
        output.sum().backward()
        self.outputs.append(float(output.double().sum()))
        self.generation, self.foreign = loan.generation, _model.foreign(loan)
        time.sleep(max(0.0, self.step_s - (time.monotonic() - begin)))

    def _breathe(self, loan) -> None:
        begin = time.monotonic()
        try:
            if self.host.breathe(loan):
                self.breaths += 1
                self.pauses.append(time.monotonic() - begin)
        except CheckpointSwitched as switched:
            self.switches.append(str(switched))
            self._wait_until_back(loan)

    def _wait_until_back(self, loan) -> None:
        while not self.over.is_set():
            now = self.host.identity()
            if now is not None and now.key == loan.identity.key:  # None: one is being loaded
                try:
                    with self.host.away(loan):
                        pass
                    return
                except CheckpointSwitched as switched:
                    self.switches.append(str(switched))
            time.sleep(0.05)


_workers: list[_Worker] = []


def worker_start(step_s: float = 0.2) -> dict:
    _workers.append(_Worker(step_s))
    assert _workers[-1].begun.wait(60)
    return worker_report()


def worker_report() -> dict:
    """What the worker saw so far; `outputs`: the distinct results of its steps (all steps compute the same)."""
    worker = _workers[-1]
    return {
        "alive": worker.thread.is_alive(),
        "steps": len(worker.outputs),
        "outputs": sorted(set(worker.outputs)),
        "breaths": worker.breaths,
        "pauses": worker.pauses,
        "switches": worker.switches,
        "generation": worker.generation,
        "foreign_storages": worker.foreign,
        "error": worker.error,
    }


def worker_stop() -> dict:
    worker = _workers[-1]
    worker.over.set()
    worker.thread.join(60)
    return worker_report()


def worker_draw(prompt: str, seed: int = 1, size: int = 64, steps: int = 4, interrupted: bool = False) -> dict:
    """The worker draws a picture inside its loan; pixels as hex, and what else changed."""
    from modules import shared

    answer: dict = {}
    done = threading.Event()

    def draw(host, loan) -> None:
        try:
            shared.state.interrupted = interrupted
            request = PictureRequest(prompt, width=size + 3, height=size, steps=steps, cfg=5, seed=seed)
            images = host.txt2img(request)
            answer["pictures"] = [image.convert("RGB").tobytes().hex() for image in images]
            answer["sizes"] = [image.size for image in images]
            answer["interrupted"] = shared.state.interrupted
            answer["chosen"] = shared.opts.sd_model_checkpoint
        except Exception:  # noqa: BLE001 shown by the test
            answer["error"] = traceback.format_exc()
        done.set()

    _workers[-1].jobs.append(draw)
    assert done.wait(60)
    return answer


def abandon(watch_s: float = 5) -> dict:
    """A thread ends inside a loan whose generator nobody closes; how long until the lock is free again."""
    from modules import call_queue

    kept: list = []

    def lend():
        with detect.host().lend() as loan:
            yield loan

    def work() -> None:
        kept.append(lend())
        next(kept[0])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    begin = time.monotonic()
    held = call_queue.queue_lock._lock.locked()
    while call_queue.queue_lock._lock.locked() and time.monotonic() - begin < watch_s:
        time.sleep(0.05)
    waited = time.monotonic() - begin
    kept[0].close()  # must not free the lock a second time
    return {"held": held, "waited": waited, "free": not call_queue.queue_lock._lock.locked()}
