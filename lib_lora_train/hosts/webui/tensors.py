"""A loaded model's tensors by key, where they lie, and in which precision."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ...families.borrow import Source


def device() -> torch.device:
    """On which the host computes."""
    from modules import devices

    return devices.device


def of(module: nn.Module) -> dict[str, Tensor]:
    """Its parameters by key; copies of those that lie on another device than the host computes on."""
    return {key: parameter.detach().to(device()) for key, parameter in module.named_parameters()}


def shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Of its parameters, by key."""
    return {key: tuple(parameter.shape) for key, parameter in module.named_parameters()}


def are_elsewhere(modules: Iterable[nn.Module]) -> bool:
    """Does some weight lie on another device than the host computes on? Then only a copy can be trained on."""
    kind = device().type
    return any(parameter.device.type != kind for module in modules for parameter in module.parameters())


def addresses(source: Source) -> tuple[int, ...]:
    """Where the tensors lie; equal for two sources of the same tensors."""
    return tuple(tensor.data_ptr() for tensor in _all(source))


def storages(source: Source) -> frozenset[int]:
    """Of the memory the tensors are parts of. What is borrowed may begin inside a tensor (a slice of fused weights)."""
    return frozenset(tensor.untyped_storage().data_ptr() for tensor in _all(source))


def heads(unet: nn.Module) -> int:
    """Of its attention; 8 when it does not say."""
    return next((module.heads for module in unet.modules() if isinstance(getattr(module, "heads", None), int)), 8)


def precision(unet: nn.Module, vae: nn.Module) -> str:
    """Of the weights, as `fp16` or `fp16, VAE fp32`."""
    names = [_precision(module) for module in (unet, vae)]
    return names[0] if names[0] == names[1] else f"{names[0]}, VAE {names[1]}"


def free_memory() -> None:
    """Give what the device holds in reserve back to the host."""
    from modules import devices

    devices.torch_gc()


def _all(source: Source) -> list[Tensor]:
    return [tensor for part in (source.unet, *source.text_encoders, source.vae) for tensor in part.values()]


def _precision(module: nn.Module) -> str:
    dtype = next(parameter.dtype for parameter in module.parameters() if parameter.dim() > 1)
    name = str(dtype).removeprefix("torch.")
    return name.replace("float8_", "fp8 ").replace("bfloat", "bf").replace("float", "fp")
