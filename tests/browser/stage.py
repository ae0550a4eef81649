"""The stand-alone page on a scripted engine: everything of the app is real but the model."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from app_stage import StageHost

from lib_lora_train.app.jobs import JobRunner
from lib_lora_train.events import Changed, Finished, Paused, Phase, Progress, Resumed, Sampled, Snapshot, Warned
from lib_lora_train.export import lora_file
from lib_lora_train.ui.standalone import application


class SlowEngine:
    """`steps` steps of `pause_s` seconds; samples and a snapshot every ten. `fail(settings)` may raise in step 5."""

    def __init__(self, steps: int = 40, pause_s: float = 0.08):
        self.steps, self.pause_s, self.snapshot_every = steps, pause_s, 0
        self.fail = lambda settings: None
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
                yield Warned(text="A step was <b>odd</b>.", remedy="Nothing to do.")
            yield self._progress(step)
            if step % 10 == 0 or control.take_sample():
                yield self._sample(folder, step)
            due = self.snapshot_every and step % self.snapshot_every == 0 and step < self.steps
            if control.take_save() or due:
                yield self._snapshot(folder, settings, step, False)
        yield self._snapshot(folder, settings, step, True)
        yield Finished(step=step, path="snapshots/x", reason="stopped" if control.stopped else "done", seconds=3.0)

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


class Stage:
    """Host, engine, runner and app of one test. `address` once it is served."""

    def __init__(self, root: Path):
        self.host = StageHost(root)
        self.engine = SlowEngine()
        self.runner = JobRunner(self.host, engine=self.engine)
        self.app = application(self.host, runner=self.runner)
        self.address = ""


def picture_folder(root: Path) -> Path:
    """Three pictures, one with markup in its caption, one without a caption, and what must be left out."""
    concept = root / "2_cat"
    concept.mkdir(parents=True)
    for index, caption in enumerate(('cat, <img src=x onerror="window.hacked=1">', "cat, sitting, indoors", "")):
        Image.new("RGB", (64, 64 + 64 * index), (index * 80, 90, 120)).save(concept / f"{index}.png")
        if caption:
            (concept / f"{index}.txt").write_text(caption, encoding="utf-8")
    (concept / "dance.gif").write_bytes(b"GIF89a")
    (concept / "broken.png").write_bytes(b"\x89PNG\r\n")
    return root
