"""Stable Diffusion 2: as the first, with OpenCLIP's text encoder up to its last layer but one."""

from __future__ import annotations

from .kinds import TextKind, UnetKind
from .sd1 import SD1


class SD2(SD1):
    """Family SD2, epsilon (512 px models) and v-prediction (768 px models). CLIP skip 1 is the last layer it uses.

    LoRA files know the attention blocks' way in and out as 1x1 convolutions (golden 04_lora_modules), so they are."""

    name = "SD2"
    usual_prediction = ""
    unet = UnetKind(convolutions=True)
    texts = (TextKind("cond_stage_model.model.", "gelu", pad=0, surplus=1),)
