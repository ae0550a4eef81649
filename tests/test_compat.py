"""What has to hold on every set of versions (`python dev.py test --compat`): imports, training each kind, its file.

Schema, borrowing, files and page are in the files that dev.py names beside this one.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import pkgutil
import re
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from app_stage import pictures, recipe
from packaging.version import Version
from safetensors.torch import load_file

import lib_lora_train
from lib_lora_train.app.jobs import JobRunner
from lib_lora_train.events import Failed, Finished, Progress
from lib_lora_train.export.lora_file import read_metadata
from lib_lora_train.hosts.base import PictureRequest
from lib_lora_train.hosts.standalone import StandaloneHost
from lib_lora_train.settings.describe import describe
from lib_lora_train.settings.from_metadata import recipe_of

STEPS = 20
TINY = {
    "resolution": "64", "min_bucket_reso": 64, "max_bucket_reso": 128, "max_token_length": 75, "network_dim": 4,
    "network_alpha": 4, "conv_dim": 4, "conv_alpha": 4, "lr_scheduler": "constant", "learning_rate": 1e-2,
    "optimizer_type": "AdamW", "max_train_steps": STEPS, "sample_steps": 2, "mixed_precision": "no",
}  # fmt: skip
PINS = os.environ.get("TRAIN_LORA_PINS", "")  # dev.py says which web UI's versions these are
_MODULES = sorted(m.name for m in pkgutil.walk_packages(lib_lora_train.__path__, "lib_lora_train."))
_FIELDS = {field["name"]: field for group in describe() for field in group["fields"]}


@pytest.mark.skipif(not PINS, reason="only with a web UI's versions (dev.py test --compat)")
def test_these_are_the_versions_that_were_asked_for():
    """A resolver that moved a pin would make everything below say nothing. torch and setuptools are newer by need."""
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)", Path(PINS).read_text(encoding="utf-8"), re.MULTILINE))
    there = {name: _version(name) for name in pins if name not in ("torch", "setuptools")}
    moved = {name for name, version in there.items() if version and Version(version) != Version(pins[name])}
    assert not moved
    needed = ("transformers", "numpy", "pillow", "gradio", "safetensors", "fastapi", "accelerate")
    assert not [name for name in needed if _version(name) is None]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def test_every_module_imports():
    for name in _MODULES:
        if not name.endswith("__main__"):
            importlib.import_module(name)


@pytest.fixture
def host(tmp_path, tiny_checkpoint):
    return StandaloneHost(tiny_checkpoint, tmp_path / "Lora", tmp_path / "train-lora", device="cpu")


def _picture(host: StandaloneHost, prompt: str) -> np.ndarray:
    return np.asarray(host.txt2img(PictureRequest(prompt, width=64, height=64, steps=3, seed=3))[0], dtype=np.int16)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("kind", _FIELDS["network_type"]["choices"])
def test_each_kind_of_network_trains_and_its_file_changes_the_picture(kind, host, tiny_checkpoint, tmp_path):
    """Twenty steps through the whole program: pictures, caches, training, card; then the file in a prompt."""
    before, plain = _digest(tiny_checkpoint), _picture(host, "cat")
    settings = recipe(pictures(tmp_path / "set"), **TINY, network_type=kind, output_name="cat")
    runner = JobRunner(host)
    runner.start(settings)
    assert runner.wait(300)
    events = runner.job.journal.all()
    assert not [event.text for event in events if isinstance(event, Failed)]
    assert next(event for event in events if isinstance(event, Finished)).step == STEPS
    losses = [event.loss for event in events if isinstance(event, Progress)]
    assert len(losses) == STEPS and np.isfinite(losses).all()

    file = tmp_path / "Lora" / "cat.safetensors"
    assert all(torch.isfinite(tensor.float()).all() for tensor in load_file(file).values())
    found = recipe_of(read_metadata(file))
    assert (found.source, found.settings["network_type"]) == ("ours", kind)
    assert file.with_suffix(".json").exists() and file.with_suffix(".png").exists()
    assert np.abs(_picture(host, "cat <lora:cat:1>") - plain).max() > 2, "the file changes nothing"
    assert np.array_equal(_picture(host, "cat"), plain) and _digest(tiny_checkpoint) == before
