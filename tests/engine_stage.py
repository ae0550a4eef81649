"""What the engine's tests play on: a small data set, a lent tiny checkpoint, recipes of a few steps."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lib_lora_train.engine.run import run
from lib_lora_train.events import Control, Event, Snapshot
from lib_lora_train.export.folder import RunFolder
from lib_lora_train.families.loan import Loan
from lib_lora_train.hosts.standalone import StandaloneHost
from lib_lora_train.settings.load import from_mapping
from lib_lora_train.settings.schema import Settings

DEVICE = os.environ.get("TEST_DEVICE", "cpu")  # "cuda": on a card, or on tests/card's
SIZES = [(64, 64), (64, 64), (32, 128), (64, 64), (32, 128)]  # two buckets; five pictures
SMALL = {
    "output_name": "tiny",
    "trigger_word": "pib",
    "resolution": "64",
    "min_bucket_reso": 32,
    "max_bucket_reso": 128,
    "bucket_reso_steps": 32,
    "max_token_length": 75,
    "mixed_precision": "no",
    "max_train_steps": 6,
    "network_dim": 2,
    "network_alpha": 2,
    "learning_rate": 1e-3,
    "optimizer_type": "AdamW",
    "sample_steps": 2,
    "make_thumbnail": False,
}

CHILD = """
import os, signal, sys
from pathlib import Path
from engine_stage import lent, recipe
from lib_lora_train.engine.run import run
from lib_lora_train.events import Control, Progress
from lib_lora_train.export.folder import RunFolder
checkpoint, root, folder, data, kill_at, resume, changes = sys.argv[1:]
with lent(Path(checkpoint), Path(root)) as loan:
    folder = RunFolder(Path(folder), Path(root) / "cache")
    for event in run(loan, recipe(Path(data), **eval(changes)), Control(), folder, resume=bool(int(resume))):
        if isinstance(event, Progress) and event.step == int(kill_at):
            os.kill(os.getpid(), signal.SIGKILL)
"""


def pictures(root: Path, sizes=SIZES) -> Path:
    """A data folder with one concept folder of seeded noise pictures and captions."""
    folder = root / "pictures" / "1_pib"
    folder.mkdir(parents=True)
    for index, (width, height) in enumerate(sizes):
        noise = np.random.default_rng(index).integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((width, height)).save(folder / f"{index}.png")
        (folder / f"{index}.txt").write_text(f"pib, tag {index}")
    return folder.parent


def recipe(data: Path, **changes) -> Settings:
    return from_mapping({**SMALL, "train_data_dir": str(data), **changes})


def folder_in(root: Path) -> RunFolder:
    """A run's folder; runs in the same `root` share the cache."""
    number = len(list(root.glob("run-*")))
    return RunFolder(root / f"run-{number}", root / "cache").make()


@contextmanager
def lent(checkpoint: Path, root: Path) -> Iterator[Loan]:
    with StandaloneHost(checkpoint, root / "lora", root / "data", device=DEVICE).lend() as loan:
        yield loan


def play(loan: Loan, settings: Settings, folder: RunFolder, control: Control | None = None, **more) -> list[Event]:
    return list(run(loan, settings, control or Control(), folder, **more))


def of(events: list[Event], kind: type) -> list:
    return [event for event in events if isinstance(event, kind)]


def last_file(events: list[Event], folder: RunFolder) -> Path:
    return folder.root / next(e.path for e in reversed(events) if isinstance(e, Snapshot))


def traces(loan: Loan) -> str:
    """Digest of all that a run could leave on the lent modules: weights, flags, hooks, replaced forwards, gradients."""
    digest = hashlib.blake2b()
    for module in (loan.unet, loan.vae, *loan.text_encoders):
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            digest.update(f"{name} {tensor.data_ptr()} {tensor.requires_grad} {tensor.grad is None}".encode())
            digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
        for name, inner in module.named_modules():
            ours = (inner.training, "forward" in inner.__dict__, getattr(inner, "gradient_checkpointing", False))
            hooks = (len(inner._forward_hooks), len(inner._forward_pre_hooks), len(inner._backward_hooks))
            digest.update(f"{name} {ours} {hooks}".encode())
    return digest.hexdigest()


def in_a_process(checkpoint, root, folder, data, changes, kill_at=0, resume=False):
    """A run in a process of its own, killed right after step `kill_at` when that is not 0."""
    arguments = [checkpoint, root, folder.root, data, kill_at, int(resume), repr(changes)]
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    card = "import plugin" if "pretended" in sys.modules else ""  # before torch
    program = f"import sys; sys.path[:0] = {paths!r}\n{card}\n{CHILD}"
    return subprocess.run([sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True)
