"""What the head line shows: read from Forge's memory, and from the chosen file's header while it is not loaded yet."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ...errors import HostError
from ...families.borrow import check
from ..base import HostStatus
from ..checkpoint_file import shapes
from ..lock import is_locked
from ..webui import state
from . import checkpoint, tensors

_PREFIX = "model.diffusion_model."


def status_of(name: str) -> HostStatus:
    used, total = state.memory()
    chosen = checkpoint.Loaded(checkpoint.choice())
    identity = checkpoint.identity(chosen.choice)
    memory = {"memory_used_gb": used, "memory_total_gb": total, "card": state.on_card()}
    status = HostStatus(name, "", clip_skip=state.clip_skip(), busy=_busy(), **memory)
    if identity is None:
        return replace(status, problem="No checkpoint is chosen.", remedy="Choose one at the top of the page.")
    status = replace(status, checkpoint=identity.title, vae=identity.vae)
    model = checkpoint.loaded() if chosen.is_loaded else None
    try:
        if model is not None:
            return _of_model(status, model)
        tensors.check_choice(chosen.choice.get("unet_storage_dtype"))
        return _of_file(status, Path(identity.path))
    except HostError as error:
        return replace(status, problem=error.message, remedy=error.remedy)


def _of_model(status: HostStatus, model: Any) -> HostStatus:
    family, prediction = tensors.family(model), checkpoint.prediction(model)
    return replace(status, family=family, prediction=prediction, precision=tensors.precision(model))


def _of_file(status: HostStatus, path: Path) -> HostStatus:
    """Forge loads it with the first picture or the first run."""
    unet = {key.removeprefix(_PREFIX): shape for key, shape in shapes(path).items() if key.startswith(_PREFIX)}
    return replace(status, family=check(unet)) if unet else status


def _busy() -> str:
    from modules import call_queue, sd_models

    if sd_models.model_data.sd_model is None and is_locked(call_queue.queue_lock):
        return "loading the checkpoint"
    return "drawing" if state.is_drawing() else ""
