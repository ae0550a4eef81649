"""Modules over tensors that a host holds: built on the meta device, then pointed at the host's storages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import HostError
from .assign import assignment, fill_positions
from .detect import detect
from .keys_clip import canonical, clip_layout
from .keys_openclip import respelt
from .keys_unet import unet_layout
from .keys_vae import vae_layout
from .kinds import TextKind
from .known import FAMILIES
from .layout import Layout, Shapes
from .libraries import models
from .loan import Family, Loan
from .precision import make_casting

_VAE_PARTS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")


@dataclass(frozen=True)
class Source:
    """A host's tensors by LDM name: `unet` below `model.diffusion_model.`, `vae` below `first_stage_model.`, each text
    encoder by Hugging Face's or OpenCLIP's names; and what cannot be seen in them."""

    unet: Mapping[str, Tensor]
    text_encoders: Sequence[Mapping[str, Tensor]]
    vae: Mapping[str, Tensor]
    heads: int = 0  # of the U-Net's first attention; 0: the family's
    text_heads: Sequence[int] = ()  # one per text encoder; () or 0: 64 channels per head
    text_activations: Sequence[str] = ()  # (): the family's


@dataclass(frozen=True)
class Borrowed:
    family: Family
    unet: nn.Module
    text_encoders: list[nn.Module]
    vae: nn.Module


@dataclass(frozen=True)
class _Part:
    """One module of a source: how it is built, which tensors it gets, and what the library calls them."""

    layout: Layout
    tensors: Mapping[str, Tensor]
    make: Callable[[dict[str, Any]], nn.Module]
    canonical: Callable[[str], str] = str


def check(unet: Shapes) -> str:
    """The family's name, from the U-Net's shapes by LDM key. Raises HostError when it cannot be trained."""
    name = detect(unet)
    if name not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise HostError(f"The loaded checkpoint is {name}, which cannot be trained.", f"Load one of these: {known}.")
    return name


def borrow(source: Source) -> Borrowed:
    """Frozen modules in eval mode on the tensors of `source`, no copies. Raises HostError when that cannot be."""
    family = _family(source)
    parts = _parts(source, family)
    unet, vae, *texts = modules = [_build(part) for part in parts]
    _point(modules, parts)
    for module, part in zip(modules, parts, strict=True):
        fill_positions(module, next(iter(part.tensors.values())).device)
    return Borrowed(family, unet, texts, vae)


def rebind(loan: Loan, source: Source) -> None:
    """Point the loan's modules at the tensors as they are now and raise its generation.

    Raises HostError when they are of another shape than the loan's; the loan is then unchanged.
    """
    _point([loan.unet, loan.vae, *loan.text_encoders], _parts(source, loan.family))
    loan.generation += 1


def borrow_text(
    tensors: Mapping[str, Tensor], heads: int = 0, activation: str = "quick_gelu", kind: TextKind | None = None
) -> nn.Module:
    """A CLIP text model alone, as part of a source would be."""
    part = _text_part(kind or TextKind(""), tensors, heads, activation)
    module = _build(part)
    _point([module], [part])
    fill_positions(module, next(iter(tensors.values())).device)
    return module


def _family(source: Source) -> Family:
    family = FAMILIES[check(_shapes(source.unet))]
    found, needed = len(source.text_encoders), len(family.texts)
    if found != needed:
        raise HostError(f"The checkpoint has {found} of {needed} text encoders.", "Load a complete checkpoint.")
    return family


def _parts(source: Source, family: Family) -> list[_Part]:
    """U-Net, VAE, text encoders."""
    heads = list(source.text_heads) or [0] * len(family.texts)
    activations = list(source.text_activations) or [text.activation for text in family.texts]
    # some VAE files carry training leftovers: losses, moving averages
    vae = {key: tensor for key, tensor in source.vae.items() if key.startswith(_VAE_PARTS)}
    return [
        _Part(unet_layout(_shapes(source.unet), source.heads, family.unet), source.unet, _unet),
        _Part(vae_layout(_shapes(vae)), vae, _vae),
        *map(_text_part, family.texts, source.text_encoders, heads, activations),
    ]


def _text_part(kind: TextKind, tensors: Mapping[str, Tensor], heads: int, activation: str) -> _Part:
    tensors = respelt(tensors, kind)
    make = _clip_projected if kind.pooled else _clip
    return _Part(clip_layout(_shapes(tensors), heads, activation), tensors, make, canonical)


def _point(modules: Sequence[nn.Module], parts: Sequence[_Part]) -> None:
    """All or nothing."""
    found = [
        assignment(module, {name: part.tensors[key] for name, key in part.layout.names.items()}, part.canonical)
        for module, part in zip(modules, parts, strict=True)
    ]
    for each in found:
        each.apply()


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in tensors.items()}


def _build(part: _Part) -> nn.Module:
    """On the meta device. Raises HostError when the library cannot build what the tensors' shapes ask for."""
    try:
        with torch.device("meta"):
            module = part.make(part.layout.config)
    except (IndexError, ValueError) as error:
        raise HostError(f"The checkpoint has no usable architecture ({error}).", "Load another checkpoint.") from error
    return make_casting(module).eval().requires_grad_(False)


def _unet(config: dict[str, Any]) -> nn.Module:
    return models().UNet2DConditionModel(**config)


def _vae(config: dict[str, Any]) -> nn.Module:
    vae = models().AutoencoderKL(**config)
    vae.decoder.forward = MethodType(_decode, vae.decoder)
    return vae


def _clip(config: dict[str, Any]) -> nn.Module:
    return models().CLIPTextModel(models().CLIPTextConfig(**config))


def _clip_projected(config: dict[str, Any]) -> nn.Module:
    return models().CLIPTextModelWithProjection(models().CLIPTextConfig(**config))


def _decode(decoder: nn.Module, sample: Tensor, latent_embeds: Tensor | None = None) -> Tensor:
    """diffusers' VAE decoder; its own, before 0.36, converts what it computes to the dtype of the weights."""
    sample = decoder.mid_block(decoder.conv_in(sample), latent_embeds)
    for block in decoder.up_blocks:
        sample = block(sample, latent_embeds)
    return decoder.conv_out(decoder.conv_act(decoder.conv_norm_out(sample)))
