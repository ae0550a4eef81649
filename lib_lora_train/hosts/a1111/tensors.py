"""Where the loaded model's tensors are, and on which device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ...families.borrow import Source


def source(model: Any) -> Source:
    """The model's own tensors; copies of those that lie on another device than the host computes on."""
    unet = model.model.diffusion_model
    transformer = _text_transformer(model)
    texts = [transformer] if transformer is not None else []
    return Source(
        unet=_tensors(unet),
        text_encoders=[_tensors(text) for text in texts],
        vae=_tensors(model.first_stage_model),
        heads=_heads(unet),
        text_heads=[text.config.num_attention_heads for text in texts],
        text_activations=[text.config.hidden_act for text in texts],
    )


def addresses(source: Source) -> tuple[int, ...]:
    """Where the tensors lie; equal for two sources of the same storages."""
    parts = (source.unet, *source.text_encoders, source.vae)
    return tuple(tensor.data_ptr() for part in parts for tensor in part.values())


def shapes(model: Any) -> Mapping[str, tuple[int, ...]]:
    """Of the U-Net's tensors, by LDM key."""
    return {key: tuple(tensor.shape) for key, tensor in model.model.diffusion_model.named_parameters()}


def precision(model: Any) -> str:
    """Of the weights, as `fp16` or `fp16, VAE fp32`."""
    unet, vae = (_precision(part) for part in (model.model.diffusion_model, model.first_stage_model))
    return unet if unet == vae else f"{unet}, VAE {vae}"


def device() -> torch.device:
    """On which the host computes."""
    from modules import devices

    return devices.device


def is_elsewhere(model: Any) -> bool:
    """Does some weight lie on another device (--medvram, --lowvram, unloaded)? Then only a copy can be trained on."""
    kind = device().type
    parts = (model.model.diffusion_model, model.cond_stage_model, model.first_stage_model)
    return any(parameter.device.type != kind for part in parts for parameter in part.parameters())


def make_room(model: Any) -> None:
    """With --medvram and --lowvram the part used last may still be on the device; send it back, as the host does."""
    if getattr(model, "lowvram", False):
        from modules import lowvram

        lowvram.send_everything_to_cpu()


def free_memory() -> None:
    """Give what the device holds in reserve back to the host."""
    from modules import devices

    devices.torch_gc()


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


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {key: parameter.detach().to(device()) for key, parameter in module.named_parameters()}


def _text_transformer(model: Any) -> nn.Module | None:
    """CLIP's text model, of the models that have just one."""
    return getattr(getattr(getattr(model, "cond_stage_model", None), "wrapped", None), "transformer", None)


def _heads(unet: nn.Module) -> int:
    return next((module.heads for module in unet.modules() if isinstance(getattr(module, "heads", None), int)), 8)


def _precision(module: nn.Module) -> str:
    dtype = next(parameter.dtype for parameter in module.parameters() if parameter.dim() > 1)
    name = str(dtype).removeprefix("torch.")
    return name.replace("float8_", "fp8 ").replace("bfloat", "bf").replace("float", "fp")
