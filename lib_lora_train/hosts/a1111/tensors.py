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
    texts = [text_model(embedder) for embedder in embedders(model)]
    return Source(
        unet=tensors.of(unet),
        text_encoders=[tensors.of(text) for text in texts],
        vae=tensors.of(model.first_stage_model),
        heads=tensors.heads(unet),
        text_heads=[_heads(text) for text in texts],
        text_activations=[_activation(text) for text in texts],
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


def embedders(model: Any) -> list[Any]:
    """LDM's or sgm's wrappers of CLIP, in the order of the conditioning."""
    conditioner = getattr(model, "conditioner", None)
    parts = [getattr(model, "cond_stage_model", None)] if conditioner is None else conditioner.embedders
    wrapped = [part.wrapped for part in parts if hasattr(part, "wrapped")]
    return [embedder for embedder in wrapped if text_model(embedder) is not None]


def text_model(embedder: Any) -> nn.Module | None:
    """CLIP's text model of Hugging Face, or OpenCLIP's; None for other kinds."""
    if hasattr(embedder, "tokenizer"):
        return getattr(embedder, "transformer", None)
    model = getattr(embedder, "model", None)
    return model if hasattr(getattr(model, "transformer", None), "resblocks") else None


def _heads(text: nn.Module) -> int:
    return text.config.num_attention_heads if hasattr(text, "config") else text.transformer.resblocks[0].attn.num_heads


def _activation(text: nn.Module) -> str:
    if hasattr(text, "config"):
        return text.config.hidden_act
    return "quick_gelu" if type(text.transformer.resblocks[0].mlp.gelu).__name__ == "QuickGELU" else "gelu"
