"""Where the loaded model's tensors are, and on which device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from ...families.borrow import Source
from ..webui import tensors


def source(model: Any) -> Source:
    """The model's own tensors; copies of those that lie on another device than the host computes on."""
    unet = model.model.diffusion_model
    transformer = _text_transformer(model)
    texts = [transformer] if transformer is not None else []
    return Source(
        unet=tensors.of(unet),
        text_encoders=[tensors.of(text) for text in texts],
        vae=tensors.of(model.first_stage_model),
        heads=tensors.heads(unet),
        text_heads=[text.config.num_attention_heads for text in texts],
        text_activations=[text.config.hidden_act for text in texts],
    )


def is_elsewhere(model: Any) -> bool:
    """Does some weight lie on another device (--medvram, --lowvram, unloaded)?"""
    return tensors.are_elsewhere((model.model.diffusion_model, model.cond_stage_model, model.first_stage_model))


def make_room(model: Any) -> None:
    """With --medvram and --lowvram the part used last may still be on the device; send it back, as the host does."""
    if getattr(model, "lowvram", False):
        from modules import lowvram

        lowvram.send_everything_to_cpu()


@contextmanager
def on_device(model: Any) -> Iterator[None]:
    """The host draws only with what is on its device; an unloaded checkpoint is so inside the block."""
    from modules import sd_models

    unloaded = not getattr(model, "lowvram", False) and is_elsewhere(model)
    if unloaded:
        sd_models.send_model_to_device(model)
    try:
        yield
    finally:
        if unloaded:
            sd_models.send_model_to_cpu(model)


def _text_transformer(model: Any) -> nn.Module | None:
    """CLIP's text model, of the models that have just one."""
    return getattr(getattr(getattr(model, "cond_stage_model", None), "wrapped", None), "transformer", None)
