"""Modules over tensors that somebody else holds: built on the meta device, then pointed at the host's storages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import HostError
from .detect import detect
from .keys_clip import canonical, clip_layout
from .keys_unet import unet_layout
from .keys_vae import vae_layout
from .layout import Layout
from .loan import Family, Loan
from .precision import make_casting
from .sd1 import SD1

_FAMILIES: dict[str, Callable[[], Family]] = {"SD1": SD1}
_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2)
_VAE_PARTS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")


@dataclass(frozen=True)
class Source:
    """A host's tensors by LDM name: `unet` below `model.diffusion_model.`, `vae` below `first_stage_model.`, each text
    encoder below `cond_stage_model.transformer.`; and what cannot be seen in them."""

    unet: Mapping[str, Tensor]
    text_encoders: Sequence[Mapping[str, Tensor]]
    vae: Mapping[str, Tensor]
    heads: int = 8  # of the U-Net's attention
    text_heads: Sequence[int] = ()  # one per text encoder; () or 0: 64 channels per head
    text_activations: Sequence[str] = ()  # () : quick_gelu


@dataclass(frozen=True)
class Borrowed:
    family: Family
    unet: nn.Module
    text_encoders: list[nn.Module]
    vae: nn.Module


def borrow(source: Source) -> Borrowed:
    """Frozen modules in eval mode on the tensors of `source`, no copies. Raises HostError when that cannot be."""
    from diffusers import AutoencoderKL, UNet2DConditionModel

    name = detect(_shapes(source.unet))
    if name not in _FAMILIES:
        raise HostError(f"The loaded checkpoint is {name}, which cannot be trained yet.", "Load an SD1 checkpoint.")
    unet, vae, texts = _layouts(source)
    borrowed = Borrowed(
        _FAMILIES[name](),
        _build(lambda: UNet2DConditionModel(**unet.config)),
        [_build(lambda text=text: _clip(text.config)) for text in texts],
        _build(lambda: AutoencoderKL(**vae.config)),
    )
    borrowed.vae.decoder.forward = MethodType(_decode, borrowed.vae.decoder)
    _point_all(borrowed, source, unet, vae, texts)
    return borrowed


def rebind(loan: Loan, source: Source) -> None:
    """Point the loan's modules at the tensors as they are now and raise its generation.

    Raises HostError when they are of another shape than the loan's; the loan is then unchanged.
    """
    unet, vae, texts = _layouts(source)
    _point_all(Borrowed(loan.family, loan.unet, loan.text_encoders, loan.vae), source, unet, vae, texts)
    loan.generation += 1


def alias(tensor: Tensor) -> Tensor:
    """A plain tensor over the same memory, which autograd accepts even when `tensor` is an inference tensor."""
    with torch.inference_mode(False), torch.no_grad():
        plain = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
        return plain.set_(tensor.untyped_storage(), tensor.storage_offset(), tensor.size(), tensor.stride())


def point(module: nn.Module, tensors: Mapping[str, Tensor], canonical: Callable[[str], str] = str) -> None:
    """Make `tensors` (by canonical name) the parameters of `module`; nothing is changed unless all fit."""
    fitted = {}
    for name, parameter in module.named_parameters():
        if canonical(name) not in tensors:
            raise HostError(
                f"The checkpoint lacks `{canonical(name)}`.", "Load an ordinary Stable Diffusion checkpoint."
            )
        fitted[name] = alias(_fit(canonical(name), tensors[canonical(name)], parameter.shape))
    surplus = set(tensors) - {canonical(name) for name in fitted}
    if surplus:
        raise HostError(
            f"The checkpoint holds `{min(surplus)}`, which its family does not have.", "Load another checkpoint."
        )
    for name, tensor in fitted.items():
        owner, _, leaf = name.rpartition(".")
        module.get_submodule(owner)._parameters[leaf] = nn.Parameter(tensor, requires_grad=False)
    _fill_buffers(module, next(iter(fitted.values())).device)


def _fit(name: str, tensor: Tensor, shape: torch.Size) -> Tensor:
    """A view of `tensor` with `shape`: 1x1 convolutions stand in for linear layers."""
    if type(tensor) not in (Tensor, nn.Parameter) or tensor.dtype not in _DTYPES:
        raise HostError(f"`{name}` is quantised ({tensor.dtype}).", "Load the checkpoint in fp16, bf16 or fp32.")
    if tensor.is_meta:
        raise HostError("The checkpoint is not loaded now.", "Generate a picture once, so that the web UI loads it.")
    if tensor.shape != shape and tensor.squeeze().shape == shape:
        tensor = tensor.squeeze()
    if tensor.shape != shape:
        raise HostError(
            f"`{name}` has the shape {list(tensor.shape)} instead of {list(shape)}.", "Load another checkpoint."
        )
    return tensor


def _fill_buffers(module: nn.Module, device: torch.device) -> None:
    """Position numbers are the only buffers there are; they are not borrowed, since some checkpoints lack them."""
    for name, buffer in list(module.named_buffers()):
        if not name.endswith("position_ids"):
            raise HostError(
                f"The installed libraries expect a buffer `{name}` that is not known.", "Update Train LoRA."
            )
        owner, _, leaf = name.rpartition(".")
        numbers = torch.arange(buffer.shape[-1], device=device).expand((1, -1))
        module.get_submodule(owner)._buffers[leaf] = numbers


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in tensors.items()}


def _vae_tensors(source: Source) -> dict[str, Tensor]:
    """Without the training leftovers (losses, moving averages) that some VAE files carry."""
    return {key: tensor for key, tensor in source.vae.items() if key.startswith(_VAE_PARTS)}


def _layouts(source: Source) -> tuple[Layout, Layout, list[Layout]]:
    count = len(source.text_encoders)
    heads = list(source.text_heads) or [0] * count
    activations = list(source.text_activations) or ["quick_gelu"] * count
    texts = [clip_layout(_shapes(t), h, a) for t, h, a in zip(source.text_encoders, heads, activations, strict=True)]
    return unet_layout(_shapes(source.unet), source.heads), vae_layout(_shapes(_vae_tensors(source))), texts


def _point_all(borrowed: Borrowed, source: Source, unet: Layout, vae: Layout, texts: list[Layout]) -> None:
    point(borrowed.unet, _named(unet, source.unet))
    point(borrowed.vae, _named(vae, source.vae))
    for module, layout, tensors in zip(borrowed.text_encoders, texts, source.text_encoders, strict=True):
        point(module, _named(layout, tensors), canonical)


def _named(layout: Layout, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensors[key] for name, key in layout.names.items()}


def _build(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        module = make()
    return make_casting(module).eval().requires_grad_(False)


def _clip(config: dict[str, Any]) -> nn.Module:
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(CLIPTextConfig(**config))


def _decode(decoder: nn.Module, sample: Tensor, latent_embeds: Tensor | None = None) -> Tensor:
    """diffusers' VAE decoder; its own (before 0.36) converts what it computes to the dtype of the weights."""
    sample = decoder.mid_block(decoder.conv_in(sample), latent_embeds)
    for block in decoder.up_blocks:
        sample = block(sample, latent_embeds)
    return decoder.conv_out(decoder.conv_act(decoder.conv_norm_out(sample)))
