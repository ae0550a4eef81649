"""What the head line shows: read from reForge's memory without the lock, in milliseconds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...errors import HostError
from ..base import HostStatus
from ..forge import tensors
from ..webui import choosing, state
from . import checkpoint

REMEDY = "Load the checkpoint's fp16 file."


def status_of(name: str) -> HostStatus:
    used, total = state.memory()
    memory = {"memory_used_gb": used, "memory_total_gb": total, "card": state.on_card()}
    status = HostStatus(name, "", clip_skip=state.clip_skip(), busy=_busy(), **memory)
    model = checkpoint.loaded()
    if model is not None:
        return _with_model(status, model)
    if choosing.chosen() is None and not status.busy:
        return replace(status, problem="No checkpoint is loaded.", remedy="Choose a checkpoint at the top of the page.")
    return status


def _with_model(status: HostStatus, model: Any) -> HostStatus:
    try:
        identity = checkpoint.identity_next(model)
        found = replace(status, checkpoint=identity.title, vae=identity.vae, precision=tensors.precision(model))
        found = _judged(found, model)
    except (AttributeError, TypeError, StopIteration):
        if checkpoint.loaded() is model:
            raise
    return found if checkpoint.loaded() is model else status  # taken apart for another one while it was looked at


def _judged(status: HostStatus, model: Any) -> HostStatus:
    try:
        return replace(status, family=tensors.family(model, REMEDY), prediction=checkpoint.prediction(model))
    except HostError as error:
        return replace(status, problem=error.message, remedy=error.remedy)


def _busy() -> str:
    from modules import sd_models

    if sd_models.model_data.lock.locked():
        return "loading the checkpoint"
    return "drawing" if state.is_drawing() else ""
