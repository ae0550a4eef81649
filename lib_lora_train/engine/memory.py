"""Running out of memory: how it shows, and what to lower then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ..errors import OutOfMemory
from ..settings.schema import Settings, size_of

_SAID = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory", "alloc_failed")


@contextmanager
def guarded(settings: Settings, phase: str) -> Iterator[None]:
    """Turns the ways in which devices say "no more memory" into OutOfMemory with what to lower in this phase."""
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not out_of_memory(error):
            raise
        lower = to_lower(settings, phase)
        raise OutOfMemory(f"The memory ran out ({phase}).", _remedy(lower), lower) from error


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that no more memory was to be had; each device says it in its own way."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, (RuntimeError, OSError)) and any(part in text for part in _SAID)


def to_lower(settings: Settings, phase: str) -> dict[str, Any]:
    """Settings that need less memory, the mildest first: a smaller batch with as much accumulation (the same
    training), gradient checkpointing (the same, slower), then a smaller resolution. {} when nothing is left."""
    training, data = settings.training, settings.data
    if phase == "latents" and data.vae_batch_size > 1:
        return {"vae_batch_size": data.vae_batch_size // 2}
    if phase != "latents" and training.train_batch_size > 1:
        half = training.train_batch_size // 2
        times = -(-training.train_batch_size // half)
        return {"train_batch_size": half, "gradient_accumulation_steps": training.gradient_accumulation_steps * times}
    if phase != "latents" and not training.gradient_checkpointing:
        return {"gradient_checkpointing": True}
    return _smaller(settings)


def _smaller(settings: Settings) -> dict[str, Any]:
    step = settings.data.bucket_reso_steps
    sides = size_of(settings.data.resolution)
    less = [max(step, int(side * 0.8) // step * step) for side in sides]
    if tuple(less) == sides:
        return {}
    return {"resolution": str(less[0]) if less[0] == less[1] else f"{less[0]}x{less[1]}"}


def _remedy(lower: dict[str, Any]) -> str:
    if not lower:
        return "Close other programs that use the device, or load a smaller checkpoint."
    words = ", ".join(f"{name} = {value}" for name, value in lower.items())
    return f"Train with {words}; or close other programs that use the device."
