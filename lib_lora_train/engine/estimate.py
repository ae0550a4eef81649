"""What a run will take, before it is started: length exactly, file size nearly so, memory and time roughly."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ..adapters.plan import plan
from ..data.buckets import fits
from ..data.plan import Length, Plan, length
from ..data.types import ImageRecord
from ..errors import SettingsError
from ..families.outline import Outline
from ..settings.options_data import varies
from ..settings.schema import NetworkSettings, Settings, size_of
from .optimizer_kinds import KINDS


class Status(Protocol):
    """`hosts.base.HostStatus`, as far as it is needed here."""

    family: str
    precision: str
    on_card: bool


@dataclass(frozen=True)
class Estimate:
    """`memory_gb` is what the run needs besides what the host has loaded; `seconds` without loading the host."""

    pictures: int
    samples_per_epoch: int
    steps: int
    epochs: int
    seconds: float
    memory_gb: float
    file_mb: float
    snapshots: int  # LoRA files, the last one included


@dataclass(frozen=True)
class _Family:
    """`linear`, `text`, `wide`: numbers per rank in U-Net, text encoders and 3x3 convolutions, `blocks` those that a
    LoCon adds at the ordinary rank (golden 04_lora_modules). Per sample at `side` pixels, bf16: `tflop` per step,
    `kept_gb` for backward."""

    linear: int
    text: int
    wide: int
    blocks: int
    modules: int
    side: int
    tflop: float
    kept_gb: float


_FAMILIES = {
    "SD1": _Family(423_936, 165_888, 544_000, 82_880, 350, 512, 1.37, 0.94),
    "SD2": _Family(432_128, 423_936, 544_000, 82_880, 416, 512, 1.4, 0.95),
    "SDXL": _Family(2_659_840, 903_168, 355_840, 58_560, 1052, 1024, 12.0, 6.83),
}
_FILE_BYTES = {"fp16": 2, "bf16": 2, "float": 4}
_CHECKPOINTED_MEMORY, _CHECKPOINTED_WORK = 0.16, 1.37
_VAE_TFLOP = 1.12  # encoding one 512 px picture
_CARD_TFLOPS, _CORE_TFLOPS = 20.0, 0.03  # unknown devices, per second
_FIXED_GB, _VAE_GB = 0.3, 1.0  # work space; encoding one 512 px picture in half precision
_HEADER_BYTES = 350  # per module
# Numbers beside those of a LoRA of that rank, about; exact only with an outline of the checkpoint.
_BESIDE_LORA = {"LoHa": 2.0, "LoKr": 0.1, "IA3": 0.01, "GLoRA": 2.0, "OFT": 0.5, "BOFT": 2.0, "full": 60.0}


def estimate(
    settings: Settings,
    records: Sequence[ImageRecord],
    status: Status,
    outline: Outline | None = None,
    seconds_per_step: float = 0.0,
) -> Estimate:
    """`outline`, of the checkpoint that is loaded, makes the file size exact for models of unusual size,
    `seconds_per_step`, as an earlier run on this device measured it, the time."""
    training = settings.training
    plan = Plan(records, fits(records, settings.data), training.train_batch_size, training.seed)
    long = length(max(plan.batches_per_epoch, 1), training)
    family = _FAMILIES.get(status.family, _FAMILIES["SD1"])
    size = _outlined(settings.network, outline) if outline else _usual(settings.network, family)
    per_step = seconds_per_step or _seconds_per_step(settings, family, status)
    return Estimate(
        pictures=len(records),
        samples_per_epoch=plan.samples_per_epoch,
        steps=long.steps,
        epochs=long.epochs,
        seconds=round(long.steps * per_step, 1),
        memory_gb=round(_memory_gb(settings, family, status, size), 2),
        file_mb=file_mb(size.modules, size.numbers, settings),
        snapshots=_files(settings, long),
    )


def file_mb(modules: int, numbers: int, settings: Settings) -> float:
    """Of a LoRA file."""
    return round((numbers * _FILE_BYTES[settings.saving.save_precision] + modules * _HEADER_BYTES) / 1e6, 1)


@dataclass(frozen=True)
class _Size:
    """Of the adapters: layers, numbers in them, and numbers of the weights that each pass makes anew (all kinds but
    plain LoRA)."""

    modules: int
    numbers: int
    made: int = 0


def _usual(network: NetworkSettings, family: _Family) -> _Size:
    locon = network.network_type in ("LoCon", "LoHa", "LoKr")
    unet = network.network_dim * (family.linear + locon * family.blocks) + locon * network.conv_dim * family.wide
    numbers = network.train_unet * unet + network.train_text_encoder * network.network_dim * family.text
    return _Size(family.modules, round(numbers * _BESIDE_LORA.get(network.network_type, 1.0)))


def _outlined(network: NetworkSettings, outline: Outline) -> _Size:
    try:
        planned = plan(outline, network)
    except SettingsError:  # refused before the start, with what is wrong
        return _Size(0, 0)
    numbers = sum(math.prod(shape) for one in planned for shape in one.form.shapes.values())
    made = sum(math.prod(one.place.shape) for one in planned if one.form.makes_weights)
    return _Size(len(planned), numbers, made)


def _half(settings: Settings, status: Status) -> bool:
    """Whether it computes in 16 bits; `auto` does on cards."""
    wanted = settings.training.mixed_precision
    return wanted in ("fp16", "bf16") or (wanted == "auto" and status.on_card)


def _area(settings: Settings, family: _Family) -> float:
    width, height = size_of(settings.data.resolution)
    return width * height / family.side**2


def _memory_gb(settings: Settings, family: _Family, status: Status, size: _Size) -> float:
    training, wide = settings.training, 1 if _half(settings, status) else 2
    kept = family.kept_gb * _area(settings, family) * training.train_batch_size * wide + size.made * 2 * wide / 2**30
    kept *= _CHECKPOINTED_MEMORY if training.gradient_checkpointing else 1.0
    adapters = size.numbers * (8 + KINDS[settings.optimizer.optimizer_type].state_bytes) / 2**30
    width, height = size_of(settings.data.resolution)
    encoding = _VAE_GB * width * height / 512**2 * settings.data.vae_batch_size * wide
    return _FIXED_GB + max(kept + adapters, encoding)


def _seconds_per_step(settings: Settings, family: _Family, status: Status) -> float:
    training = settings.training
    sample = family.tflop * _area(settings, family) * (_CHECKPOINTED_WORK if training.gradient_checkpointing else 1.0)
    if varies(settings.data):
        width, height = size_of(settings.data.resolution)
        sample += _VAE_TFLOP * width * height / 512**2
    work = sample * training.train_batch_size * training.gradient_accumulation_steps
    return work / (_CARD_TFLOPS if status.on_card else _CORE_TFLOPS * (os.cpu_count() or 1))


def _files(settings: Settings, long: Length) -> int:
    """Snapshots on the way, each step once, and the last file."""
    saving = settings.saving
    intervals = (saving.save_every_n_steps, saving.save_every_n_epochs * long.steps_per_epoch)
    before_last, used = long.steps - 1, [every for every in intervals if every]
    together = before_last // math.lcm(*used) if len(used) > 1 else 0
    return sum(before_last // every for every in used) - together + 1
