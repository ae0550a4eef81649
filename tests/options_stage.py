"""What the test of all options looks at: one short run on the tiny checkpoint, seen from every side."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from engine_stage import SMALL, folder_in
from PIL import Image
from safetensors.torch import load_file

from lib_lora_train.app.jobs import JobRunner
from lib_lora_train.data import loader
from lib_lora_train.data.types import Batch
from lib_lora_train.engine import run as run_module
from lib_lora_train.events import Control, Phase, Progress, Snapshot
from lib_lora_train.export.folder import RunFolder
from lib_lora_train.export.lora_file import read_metadata
from lib_lora_train.families.loan import Loan
from lib_lora_train.hosts.standalone import StandaloneHost
from lib_lora_train.settings.load import from_mapping
from lib_lora_train.settings.schema import Settings

PASSING = ("ss_session_id", "ss_training_started_at", "ss_training_finished_at", "modelspec.date", "modelspec.hash",
           "train_lora_recipe", "sshs_model_hash", "sshs_legacy_hash")  # fmt: skip
BASE = {
    **SMALL, "output_name": "opt", "max_train_steps": 3, "save_precision": "float", "train_batch_size": 2,
    "lr_scheduler": "constant", "text_encoder_lr": 0.0, "min_snr_gamma": 0.0, "save_state_every_n_steps": 0,
    "cache_latents_to_disk": False, "mixed_precision": "no", "bucket_reso_steps": 32,
}  # fmt: skip
CAPTIONS = [
    "pib, red cat, blue sky;;white cloud, ||| {old|new} house, tree\npib, second line, river",
    "pib, (green:1.4) field, [grey] stone, long road, far hill, small bird",
    "pib, " + ", ".join(f"word{n} and more" for n in range(40)),
    "pib, moon",
]
SIZES = [(96, 64), (64, 64), (40, 40), (40, 200)]


@dataclass
class Seen:
    """All that a run shows; each field is a side that an option may show on."""

    weights: dict[str, str] = field(default_factory=dict)  # the last file's tensors, digested
    shapes: dict[str, tuple] = field(default_factory=dict)  # their names, shapes and types
    batches: list[tuple] = field(default_factory=list)  # pictures, latents, sizes, weights of the samples
    captions: list[list[str]] = field(default_factory=list)
    rates: list[dict[str, float]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    files: set[str] = field(default_factory=set)  # in the run's folder, at any time
    cached: int = 0  # files in the cache
    pictures: dict[str, str] = field(default_factory=dict)  # samples, digested
    metadata: dict[str, str] = field(default_factory=dict)
    path: Path = Path()  # of the last file
    encodings: int = 0  # how often the VAE was used
    checkpointing: bool = False
    published: list[str] = field(default_factory=list)  # files in the web UI's LoRA folder, and when they came
    card: dict[str, Any] = field(default_factory=dict)  # the card's JSON

    @property
    def length(self) -> int:
        return len(self.rates)


class Stage:
    """Folders to train on, and the lent checkpoint."""

    def __init__(self, root: Path, loan: Loan, checkpoint: Path):
        self.root, self.loan, self.checkpoint = root, loan, checkpoint
        self.known: dict[str, Seen] = {}  # by settings: several options share the run without them
        self.data = _folder(root / "data" / "2_pib", "RGBA", CAPTIONS).parent
        self.other = _folder(root / "other" / "1_pib", "RGB", CAPTIONS[::-1]).parent
        self.flat = _folder(root / "flat", "RGB", CAPTIONS)
        self.faces = _told_faces(_folder(root / "faces" / "1_pib", "RGB", CAPTIONS)).parent
        self.masks = _folder(root / "masks", "L", CAPTIONS)
        self.reg = _folder(root / "reg" / "1_dog", "RGB", ["dog"] * 4).parent

    def settings(self, changes: dict[str, Any]) -> Settings:
        values = {**BASE, "train_data_dir": str(self.data), **changes}
        return from_mapping({name: value(self) if callable(value) else value for name, value in values.items()})

    def run(self, changes: dict[str, Any]) -> Seen:
        """A short run with `changes`; a value may be a function of the stage."""
        settings = self.settings(changes)
        key = repr(settings)
        if key not in self.known:
            self.known[key] = self._run(settings)
        return self.known[key]

    def _run(self, settings: Settings) -> Seen:
        folder, seen = folder_in(self.root), Seen()
        folder = RunFolder(folder.root, folder.root / "cache").make()
        _leave_old_entry(folder.cache)
        with recorded(seen):
            for event in run_module.run(self.loan, settings, Control(), folder):
                _look(seen, event, self.loan)
                seen.files |= {name for name in _files(folder.root) if not name.startswith("cache/")}
                if isinstance(event, Snapshot) and event.final:
                    seen.path = folder.root / event.path
        _look_at_file(seen, seen.path)
        seen.cached = len(_files(folder.cache))
        seen.pictures = {p.name: _digest(p.read_bytes()) for p in folder.samples.glob("*.png")}
        return seen

    def trained(self, changes: dict[str, Any]) -> Path:
        """A LoRA file of a run with `changes`."""
        return self.run(changes).path

    def program(self, changes: dict[str, Any]) -> Seen:
        """The same through the whole program: what comes to lie in the web UI's folder."""
        root = self.root / f"program-{len(list(self.root.glob('program-*')))}"
        host = StandaloneHost(self.checkpoint, root / "lora", root / "data", device="cpu")
        runner, seen = JobRunner(host), Seen()
        run = runner.start(self.settings(changes))
        assert runner.wait(120)
        events = runner.events(run)["events"]
        assert events[-1]["event"] == "Finished", events[-1]
        seen.published = sorted(_files(root / "lora")) + [str(e["step"]) for e in events if e["event"] == "Published"]
        seen.card = json.loads(next((root / "lora").rglob("*.json")).read_text(encoding="utf-8"))
        return seen


def _folder(folder: Path, mode: str, captions: list[str]) -> Path:
    """Seeded noise pictures; of mode RGBA the left halves are transparent, and `mask/` covers the right halves."""
    folder.mkdir(parents=True)
    for index, (size, caption) in enumerate(zip(SIZES, captions, strict=True)):
        noise = np.random.default_rng(index).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
        picture = Image.fromarray(noise).convert(mode)
        if mode == "RGBA":
            alpha = np.full((size[1], size[0]), 255, np.uint8)
            alpha[:, : size[0] // 2] = 0
            picture.putalpha(Image.fromarray(alpha))
        picture.save(folder / f"{index}.png")
        (folder / f"{index}.txt").write_text(caption, encoding="utf-8")
        (folder / f"{index}.other").write_text(f"other {index}", encoding="utf-8")
    return folder


def _told_faces(folder: Path) -> Path:
    """The names tell where a face is."""
    for picture in folder.glob("*.png"):
        picture.rename(picture.with_name(f"{picture.stem}_30_20_12_12.png"))
    return folder


def _leave_old_entry(cache: Path) -> None:
    """Of a run long ago."""
    entry = cache / "latents" / "00" / f"{'0' * 40}.cache"
    entry.parent.mkdir(parents=True)
    entry.write_bytes(b"old")
    os.utime(entry, (0, 0))


@contextmanager
def recorded(seen: Seen) -> Iterator[None]:
    """Every batch that the run asks for is looked at on its way."""

    class Recording(loader.Loader):
        def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
            for batch in super().batches(epoch, start):
                seen.captions.append(list(batch.captions))
                seen.batches.append(_batch(batch))
                yield batch

    original, run_module.Loader = run_module.Loader, Recording
    try:
        yield
    finally:
        run_module.Loader = original


def _batch(batch: Batch) -> tuple:
    tensors = {name: getattr(batch, name) for name in batch.__dataclass_fields__ if name not in ("keys", "captions")}
    plain = {name: _digest(t.numpy().tobytes()) for name, t in tensors.items() if hasattr(t, "numpy")}
    return (tuple(batch.latents.shape), [key.image for key in batch.keys], plain)


def _look(seen: Seen, event: Any, loan: Loan) -> None:
    if isinstance(event, Progress):
        seen.rates.append(event.lr)
        seen.losses.append(event.loss)
        seen.checkpointing |= "forward" in vars(loan.unet.mid_block.resnets[0])
    if isinstance(event, Phase) and event.name == "latents":
        seen.encodings += 1


def _look_at_file(seen: Seen, path: Path) -> None:
    for name, tensor in load_file(path).items():
        seen.shapes[name] = (tuple(tensor.shape), tensor.dtype)
        seen.weights[name] = _digest(tensor.float().numpy().tobytes())
    seen.metadata = {name: value for name, value in read_metadata(path).items() if name not in PASSING}


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()
