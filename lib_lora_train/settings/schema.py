"""Every option, declared once: type, hard bounds, label, unit, advice range, help and default.

Form, API, command line, recipe files and `docs/options.md` derive from here. Hard bounds (`ge`, `le`) are only what
the mathematics or a file format forbids; `advice` is the range guides recommend, outside which the page warns.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Literal

import msgspec

from .options_data import DataSettings
from .options_learning import LossSettings, OptimizerSettings
from .options_network import NetworkSettings
from .options_words import CaptionSettings, Naming
from .section import Section
from .section import option as _o


class TrainingSettings(Section):
    """Length, precision and memory"""

    max_train_steps: Annotated[
        int,
        _o(
            "Steps", "Length of the run unless epochs are given; 800-1500 characters, 3000+ styles.", unit="steps", ge=1
        ),
    ] = 1000
    max_train_epochs: Annotated[int, _o("Epochs", "Rounds over all pictures; above 0 it decides the length.", ge=0)] = 0
    train_batch_size: Annotated[int, _o("Batch size", "Pictures per step.", ge=1, advice=(1, 8))] = 1
    gradient_accumulation_steps: Annotated[
        int, _o("Accumulation", "Batches per optimiser step: a larger batch in the same memory.", ge=1, advice=(1, 16))
    ] = 1
    gradient_checkpointing: Annotated[bool, _o("Gradient checkpointing", "Much less memory, about 20-40 % slower.")] = (
        False
    )
    mixed_precision: Annotated[
        Literal["auto", "no", "fp16", "bf16"],
        _o("Precision", "auto: bf16 where the card can, fp16 on other cards, fp32 on a CPU."),
    ] = "auto"
    clip_skip: Annotated[
        int,
        _o("CLIP skip", "0: as the web UI is set. 1 realistic and SD 1.5, 2 anime (NAI).", ge=0, le=12, advice=(0, 2)),
    ] = 0
    seed: Annotated[int, _o("Seed", "The same recipe, pictures and seed give the same file.", ge=0, le=2**63 - 1)] = 42


class SaveSettings(Section):
    """Saving and samples"""

    save_precision: Annotated[Literal["fp16", "bf16", "float"], _o("File precision", "fp16 halves the file.")] = "fp16"
    save_every_n_steps: Annotated[int, _o("Snapshot every", "0: off.", unit="steps", ge=0)] = 0
    save_every_n_epochs: Annotated[int, _o("Snapshot every", "0: off.", unit="epochs", ge=0)] = 0
    save_state_every_n_steps: Annotated[
        int,
        _o("State every", "How much a crash can cost at most; 0: only with snapshots and pauses.", unit="steps", ge=0),
    ] = 250
    publish_snapshots: Annotated[
        bool, _o("Newest snapshot on the card", "`<lora:name:1>` is the newest snapshot while it bakes.")
    ] = True
    sample_every_n_steps: Annotated[int, _o("Samples every", "0: off.", unit="steps", ge=0)] = 0
    sample_every_n_epochs: Annotated[int, _o("Samples every", "0: off.", unit="epochs", ge=0)] = 0
    sample_at_first: Annotated[bool, _o("Samples before training", "Shows what the base already knows.")] = False
    sample_prompts: Annotated[str, _o("Sample prompts", "One per line; empty: the trigger word.")] = ""
    sample_negative: Annotated[str, _o("Negative prompt", "For samples and thumbnail.")] = ""
    sample_steps: Annotated[int, _o("Sample steps", "", ge=1, advice=(10, 40))] = 20
    sample_cfg: Annotated[float, _o("Sample CFG", "", ge=0, advice=(4, 12))] = 7.0
    sample_size: Annotated[
        str,
        _o(
            "Sample size",
            "One number or WxH; empty: the training resolution.",
            unit="px",
            pattern=r"^(\s*\d{1,5}\s*([xX,]\s*\d{1,5}\s*)?)?$",
        ),
    ] = ""
    sample_seed: Annotated[
        int, _o("Sample seed", "The same in every row, so that rows can be compared.", ge=0, le=2**32 - 1)
    ] = 1
    make_thumbnail: Annotated[bool, _o("Thumbnail", "Draw the card's picture when finished.")] = True


class Settings(Section):
    """A whole recipe."""

    naming: Naming = Naming()
    data: DataSettings = DataSettings()
    captions: CaptionSettings = CaptionSettings()
    network: NetworkSettings = NetworkSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    loss: LossSettings = LossSettings()
    training: TrainingSettings = TrainingSettings()
    saving: SaveSettings = SaveSettings()


def rate_scale(settings: Settings) -> float:
    """By what `scale_lr` multiplies all learning rates."""
    samples = settings.training.train_batch_size * settings.training.gradient_accumulation_steps
    return samples ** {"no": 0.0, "sqrt": 0.5, "linear": 1.0}[settings.optimizer.scale_lr]


def size_of(text: str) -> tuple[int, int]:
    """(width, height) in pixels of `512` or `512x768`."""
    parts = [int(p) for p in text.lower().replace(",", "x").split("x")]
    return (parts[0], parts[-1])


@lru_cache(maxsize=1)
def groups() -> dict[str, type[Section]]:
    """Group name to its struct, in the schema's order."""
    return {field.name: field.type for field in msgspec.structs.fields(Settings)}


@lru_cache(maxsize=1)
def group_of() -> dict[str, str]:
    """Field name to the name of its group. Field names are unique over the groups."""
    return {f.name: group for group, struct in groups().items() for f in msgspec.structs.fields(struct)}
