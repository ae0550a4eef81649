"""What the head line shows of A1111's model: read from memory without the lock, in milliseconds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...errors import HostError
from ...families.borrow import check
from ...families.known import FAMILIES
from ..base import HostStatus
from ..webui import choosing, tensors
from . import checkpoint


def described(status: HostStatus, model: Any) -> HostStatus:
    identity, unet = choosing.identity_next(model), model.model.diffusion_model
    precision = tensors.precision(unet, model.first_stage_model)
    status = replace(status, checkpoint=identity.title, vae=identity.vae, precision=precision)
    try:
        family, prediction = check(tensors.shapes(unet)), checkpoint.prediction(model)
        checkpoint.tokenizers(model, FAMILIES[family])
    except HostError as error:
        return replace(status, problem=error.message, remedy=error.remedy)
    return replace(status, family=family, prediction=prediction)
