"""What the head line shows of reForge's model: read from memory without the lock, in milliseconds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...errors import HostError
from ..base import HostStatus
from ..forge import tensors
from . import checkpoint

REMEDY = "Load the checkpoint's fp16 file."


def described(status: HostStatus, model: Any) -> HostStatus:
    """`status` itself when the model is taken apart for another one while it is looked at."""
    try:
        found = _described(status, model)
    except (AttributeError, TypeError, StopIteration):
        if checkpoint.loaded() is model:
            raise
        return status
    return found if checkpoint.loaded() is model else status


def _described(status: HostStatus, model: Any) -> HostStatus:
    identity = checkpoint.identity_next(model)
    status = replace(status, checkpoint=identity.title, vae=identity.vae, precision=tensors.precision(model))
    status = replace(status, clip_skip=checkpoint.clip_skip(model))
    try:
        return replace(status, family=tensors.family(model, REMEDY), prediction=checkpoint.prediction(model))
    except HostError as error:
        return replace(status, problem=error.message, remedy=error.remedy)
