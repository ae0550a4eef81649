"""The layers of a checkpoint by name and size, from its tensors' shapes alone; nothing is built or loaded."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from .borrow import check
from .keys_clip import clip_layout
from .keys_openclip import respelt
from .keys_unet import unet_layout
from .known import FAMILIES
from .layout import Layout, Shapes
from .loan import Loan
from .names import layers, text_owners

# By owner (`unet`, `text_encoder`, ...) and canonical name of a layer the shape of its weight.
Outline = Mapping[str, Mapping[str, tuple[int, ...]]]

_UNET = "model.diffusion_model."


def outline(shapes: Shapes) -> Outline:
    """`shapes` by key of a checkpoint file in LDM layout. Raises HostError for any other."""
    unet = _under(shapes, _UNET)
    family = FAMILIES[check(unet)]
    found = {"unet": _weights(unet_layout(unet, kind=family.unet), unet)}
    for owner, kind in zip(text_owners(len(family.texts)), family.texts, strict=True):
        empty = {key: torch.empty(shape, device="meta") for key, shape in _under(shapes, kind.prefix).items()}
        text = {key: tuple(tensor.shape) for key, tensor in respelt(empty, kind).items()}
        found[owner] = _weights(clip_layout(text), text)
    return found


def outline_of(loan: Loan) -> Outline:
    return {
        owner: {name: tuple(layer.weight.shape) for name, layer in by_name.items()}
        for owner, by_name in layers(loan).items()
    }


def _under(shapes: Shapes, prefix: str) -> dict[str, tuple[int, ...]]:
    return {key[len(prefix) :]: tuple(shape) for key, shape in shapes.items() if key.startswith(prefix)}


def _weights(layout: Layout, shapes: Shapes) -> dict[str, tuple[int, ...]]:
    ending = ".weight"
    return {name[: -len(ending)]: tuple(shapes[key]) for name, key in layout.names.items() if name.endswith(ending)}
