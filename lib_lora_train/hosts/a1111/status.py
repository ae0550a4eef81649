"""What the head line shows: read from A1111's memory without the lock, in milliseconds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...errors import HostError
from ...families.borrow import check
from ...families.known import FAMILIES
from ..base import HostStatus
from ..webui import choosing, state, tensors
from . import checkpoint


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
    identity, unet = choosing.identity_next(model), model.model.diffusion_model
    precision = tensors.precision(unet, model.first_stage_model)
    status = replace(status, checkpoint=identity.title, vae=identity.vae, precision=precision)
    try:
        family, prediction = check(tensors.shapes(unet)), checkpoint.prediction(model)
        checkpoint.tokenizers(model, FAMILIES[family])
    except HostError as error:
        return replace(status, problem=error.message, remedy=error.remedy)
    return replace(status, family=family, prediction=prediction)


def _busy() -> str:
    from modules import sd_models

    if sd_models.model_data.lock.locked():
        return "loading the checkpoint"
    return "drawing" if state.is_drawing() else ""
