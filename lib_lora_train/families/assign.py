"""Pointing a module's parameters at tensors that somebody else holds, without a copy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import HostError

_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2)


def alias(tensor: Tensor) -> Tensor:
    """A plain tensor over the same memory, which autograd accepts even when `tensor` is an inference tensor."""
    with torch.inference_mode(False), torch.no_grad():
        plain = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
        return plain.set_(tensor.untyped_storage(), tensor.storage_offset(), tensor.size(), tensor.stride())


def matrix(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape without a 1x1 convolution's ones."""
    return tuple(shape[:2]) if tuple(shape[2:]) == (1, 1) else tuple(shape)


def is_plain(tensor: Tensor) -> bool:
    """Whether the memory holds the weight itself: no quantised format, no class with arithmetic of its own."""
    return type(tensor) in (Tensor, nn.Parameter) and tensor.dtype in _DTYPES


@dataclass(frozen=True)
class Assignment:
    """Tensors that were found to fit `module`, by its own parameter names."""

    module: nn.Module
    tensors: dict[str, Tensor]

    def apply(self) -> None:
        """Make them its parameters, frozen. Cannot fail."""
        for name, tensor in self.tensors.items():
            owner, _, leaf = name.rpartition(".")
            self.module.get_submodule(owner)._parameters[leaf] = nn.Parameter(tensor, requires_grad=False)


def assignment(module: nn.Module, tensors: Mapping[str, Tensor], canonical: Callable[[str], str] = str) -> Assignment:
    """`tensors` by canonical name; `canonical` gives it for a parameter's name in the installed library.

    Raises HostError, naming the tensor, when one lacks, is too many, has another shape, or cannot be aliased.
    """
    fitting = {}
    for name, parameter in module.named_parameters():
        ours = canonical(name)
        if ours not in tensors:
            raise HostError(f"The checkpoint lacks `{ours}`.", "Load an ordinary Stable Diffusion checkpoint.")
        fitting[name] = alias(_fit(ours, tensors[ours], parameter.shape))
    surplus = set(tensors) - {canonical(name) for name in fitting}
    if surplus:
        raise HostError(f"The checkpoint holds `{min(surplus)}`, unknown in its family.", "Load another checkpoint.")
    return Assignment(module, fitting)


def _fit(name: str, tensor: Tensor, shape: torch.Size) -> Tensor:
    """A view of `tensor` with `shape`: 1x1 convolutions and linear layers stand in for each other."""
    if not is_plain(tensor):
        raise HostError(f"`{name}` is quantised ({tensor.dtype}).", "Load the checkpoint in fp16, bf16 or fp32.")
    if tensor.is_meta:
        raise HostError("The checkpoint is not loaded now.", "Generate a picture once, so that the web UI loads it.")
    if tensor.shape != shape and matrix(tensor.shape) == matrix(shape):
        return tensor.view(shape)
    if tensor.shape != shape:
        have, need = list(tensor.shape), list(shape)
        raise HostError(f"`{name}` has the shape {have} instead of {need}.", "Load another checkpoint.")
    return tensor


def fill_positions(module: nn.Module, device: torch.device) -> None:
    """Position numbers are the only buffers there are; they are made, not borrowed, since some checkpoints lack them.

    Raises HostError for a buffer of a library version that is not known yet."""
    for name, buffer in list(module.named_buffers()):
        if not name.endswith("position_ids"):
            raise HostError(f"The installed libraries expect an unknown buffer `{name}`.", "Update Train LoRA.")
        owner, _, leaf = name.rpartition(".")
        numbers = torch.arange(buffer.shape[-1], device=device).expand((1, -1))
        module.get_submodule(owner)._buffers[leaf] = numbers
