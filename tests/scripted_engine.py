"""An engine that only plays training: steps that take as long as wanted, sample pictures, snapshots, a failure."""

from __future__ import annotations

import time
from typing import Any

import torch
from PIL import Image

from lib_lora_train.errors import OutOfMemory
from lib_lora_train.events import Changed, Finished, Paused, Phase, Progress, Resumed, Sampled, Snapshot, Warned
from lib_lora_train.export import lora_file
from lib_lora_train.settings.load import to_mapping


class SlowEngine:
    """`steps` steps of `pause_s` seconds; samples and a snapshot every ten. In step 5 a run with all the settings of
    `out_of_memory` runs out of memory and proposes `lower`; `fail(settings)` may raise then, too."""

    def __init__(self, steps: int = 40, pause_s: float = 0.08):
        self.steps, self.pause_s, self.snapshot_every = steps, pause_s, 0
        self.fail = lambda settings: None
        self.out_of_memory: dict[str, Any] = {}
        self.lower: dict[str, Any] = {}
        self.runs: list = []  # settings of each run
        self.changed: dict = {}  # what was asked for while it ran

    def __call__(self, loan, settings, control, folder, resume=False):
        self.runs.append(settings)
        yield Phase(name="latents", text="Encoding pictures", done=1, total=3)
        time.sleep(0.2)
        yield Phase(name="train")
        step = 0
        while step < self.steps and not control.stopped:
            while control.paused:
                yield Paused(reason="user", text="Paused.")
                yield Resumed()
            step += 1
            time.sleep(self.pause_s)
            if wanted := control.take_change():
                self.changed |= wanted
                yield Changed(saving=wanted)
            if step == 5:
                self.fail(settings)
                self._memory(settings)
                yield Warned(text="A step was <b>odd</b>.", remedy="Nothing to do.")
            yield self._progress(step)
            if step % 10 == 0 or control.take_sample():
                yield self._sample(folder, step)
            due = self.snapshot_every and step % self.snapshot_every == 0 and step < self.steps
            if control.take_save() or due:
                yield self._snapshot(folder, settings, step, False)
        yield self._snapshot(folder, settings, step, True)
        yield Finished(step=step, path="snapshots/x", reason="stopped" if control.stopped else "done", seconds=3.0)

    def _memory(self, settings) -> None:
        if self.out_of_memory and self.out_of_memory.items() <= to_mapping(settings).items():
            raise OutOfMemory("The graphics card ran out of memory.", "Lower the batch size.", self.lower)

    def _progress(self, step: int) -> Progress:
        left = (self.steps - step) * self.pause_s
        loss = 0.1 + 0.1 / step
        return Progress(
            step=step,
            total_steps=self.steps,
            epoch=1 + step // 20,
            epochs=2,
            loss=loss,
            loss_smooth=loss,
            lr={"unet": 1e-4},
            it_per_s=1 / self.pause_s,
            eta_s=left,
            memory_gb=5.5,
        )

    def _sample(self, folder, step: int) -> Sampled:
        path = folder.samples / f"{step:06}-0.png"
        Image.new("RGB", (64, 64), (step * 5 % 255, 80, 120)).save(path)
        return Sampled(step=step, index=0, prompt="cat <i>sitting</i>", seed=1, path=folder.relative(path))

    def _snapshot(self, folder, settings, step: int, final: bool) -> Snapshot:
        path = folder.snapshots / f"{step:06}.safetensors"
        metadata = {"ss_output_name": settings.naming.output_name, "ss_session_id": str(len(self.runs))}
        lora_file.save(path, {"lora_te_x.alpha": torch.ones(1)}, metadata)
        return Snapshot(step=step, epoch=1, path=folder.relative(path), final=final)
