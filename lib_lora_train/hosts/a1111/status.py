"""What the head line shows: read from the web UI's memory without the lock, in milliseconds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from ...errors import HostError
from ...families.borrow import check
from ..base import HostStatus
from . import checkpoint, tensors

OWN_JOB = "train-lora"  # how our pictures are named in the host's progress
_GB = 1e9


def status_of(name: str) -> HostStatus:
    used, total = _memory()
    status = HostStatus(
        name, "", clip_skip=checkpoint.clip_skip(), memory_used_gb=used, memory_total_gb=total, busy=_busy()
    )
    model = checkpoint.loaded()
    if model is not None:
        return _with_model(status, model)
    if checkpoint.chosen() is None and not status.busy:
        return replace(status, problem="No checkpoint is loaded.", remedy="Choose a checkpoint at the top of the page.")
    return status


def _with_model(status: HostStatus, model: Any) -> HostStatus:
    identity = checkpoint.identity_next(model)
    status = replace(status, checkpoint=identity.title, vae=identity.vae, precision=tensors.precision(model))
    try:
        family, prediction = check(tensors.shapes(model)), checkpoint.prediction(model)
        checkpoint.tokenizer(model)
    except HostError as error:
        return replace(status, problem=error.message, remedy=error.remedy)
    return replace(status, family=family, prediction=prediction)


def _busy() -> str:
    from modules import sd_models, shared

    if sd_models.model_data.lock.locked():
        return "loading the checkpoint"
    return "drawing" if shared.state.job and shared.state.job != OWN_JOB else ""


def _memory() -> tuple[float, float]:
    """(used, total) in GB of the device the host computes on."""
    device = tensors.device()
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return (total - free) / _GB, total / _GB
    import psutil  # the host has it

    memory = psutil.virtual_memory()
    return (memory.total - memory.available) / _GB, memory.total / _GB
