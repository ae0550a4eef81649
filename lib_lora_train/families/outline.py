"""The layers of a checkpoint by name and size, from its tensors' shapes alone; nothing is built or loaded."""

from __future__ import annotations

from collections.abc import Mapping

from .borrow import check
from .keys_clip import clip_layout
from .keys_unet import unet_layout
from .layout import Layout, Shapes
from .loan import Loan
from .names import layers

# By owner (`unet`, `text_encoder`, ...) and canonical name of a layer the shape of its weight.
Outline = Mapping[str, Mapping[str, tuple[int, ...]]]

_UNET, _TEXT = "model.diffusion_model.", "cond_stage_model.transformer."


def outline(shapes: Shapes) -> Outline:
    """`shapes` by key of a checkpoint in SD1's layout. Raises HostError for any other."""
    unet, text = _under(shapes, _UNET), _under(shapes, _TEXT)
    check(unet)
    heads = 1  # changes no shape
    return {"unet": _weights(unet_layout(unet, heads), unet), "text_encoder": _weights(clip_layout(text, heads), text)}


def outline_of(loan: Loan) -> Outline:
    return {
        owner: {name: tuple(layer.weight.shape) for name, layer in by_name.items()}
        for owner, by_name in layers(loan).items()
    }


def _under(shapes: Shapes, prefix: str) -> dict[str, tuple[int, ...]]:
    return {key[len(prefix) :]: tuple(shape) for key, shape in shapes.items() if key.startswith(prefix)}


def _weights(layout: Layout, shapes: Shapes) -> dict[str, tuple[int, ...]]:
    ending = ".weight"
    return {
        name[: -len(ending)]: tuple(shapes[key]) for name, key in layout.names.items() if name.endswith(ending)
    }
