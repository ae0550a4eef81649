"""LoRAs as Forge has them: patches on copies of its patchers, merged into the weights when a picture needs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..webui.loras import networks
from .tensors import to_device

_NONE = str([])  # Forge's mark for "no LoRA"
_UNKNOWN = ""  # equal to no mark, so that Forge looks again


def take_out(model: Any) -> None:
    """Make the weights those of the checkpoint again, on the device; needs the lock. Exact: Forge keeps the originals.

    The untouched patchers replace those that carry patches. Loading them is what takes merged patches out, in Forge
    and in its descendants; `refresh_loras`, where there is one, does so for models that were loaded already.
    """
    module = networks()
    if module is not None:
        module.loaded_networks.clear()
    original = model.forge_objects_original
    model.forge_objects = original.shallow_copy()
    model.forge_objects_after_applying_lora = original.shallow_copy()
    model.current_lora_hash = _NONE
    to_device(model)
    with torch.inference_mode():
        for patcher in (original.unet, original.clip.patcher):
            getattr(patcher, "refresh_loras", _nothing)()


def let_go(path: Path) -> None:
    """Forget the contents of LoRA files: Forge keeps the last few mapped."""
    load = getattr(networks(), "load_lora_state_dict", None)
    getattr(load, "cache_clear", _nothing)()


def forget(model: Any) -> None:
    """The next picture reads its LoRAs anew, although names and weights may be those of the last one."""
    model.current_lora_hash = _UNKNOWN
    original = model.forge_objects_original
    for patched in (original.unet.model, original.clip.cond_stage_model):
        loader = getattr(patched, "lora_loader", None)
        if loader is not None:
            loader.loaded_hash = _UNKNOWN


def _nothing() -> None:
    """What is done where a host has no such step."""
