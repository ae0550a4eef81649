"""LoRA and LoCon: two matrices of low rank; with a core between them where a convolution is decomposed further."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .drops import LayerDrops
from .layer import DORA, Form, Found, Layer, Shape, lengths, magnitudes_shape, respond, uniform
from .spec import Spec

DOWN, MID, UP = "lora_down.weight", "lora_mid.weight", "lora_up.weight"


class LoraLayer(Layer):
    """Adds alpha / rank * up(down(x)); `down` [r, in, ...] has the layer's kernel, `up` [out, r, ...] a 1x1 one.

    "LoRA: Low-Rank Adaptation of Large Language Models" (arXiv 2106.09685); tensors as in sd-scripts. With `mid`
    [r, r, ...] (Tucker's decomposition) that has the kernel and `down` a 1x1 one; tensors as in LyCORIS.
    """

    names = (DOWN, MID, UP, DORA)
    scaled = (DOWN, UP)
    ranked = (DOWN,)
    late = (UP,)

    @staticmethod
    def form(shape: Shape, spec: Spec) -> Form | None:
        if len(shape) < 2:
            return None
        (out, inputs, *kernel), rank = shape, spec.rank
        ones = [1] * len(kernel)
        wide = any(size != 1 for size in kernel)
        if spec.tucker and wide:
            shapes = {DOWN: (rank, inputs, *ones), MID: (rank, rank, *kernel), UP: (out, rank, *ones)}
        else:
            shapes = {DOWN: (rank, inputs, *kernel), UP: (out, rank, *ones)}
        if spec.decompose:
            shapes[DORA] = magnitudes_shape(shape)
        return Form(spec.kind, rank, spec.alpha, shapes, spec.unit)

    @staticmethod
    def spec_in(found: Found, shape: Shape) -> Spec:
        return Spec("LoRA", found.shapes[DOWN][0], tucker=MID in found.shapes, decompose=DORA in found.shapes)

    def start(self, draw: torch.Generator, module: nn.Module) -> None:
        uniform(self.tensors[DOWN], draw)
        if MID in self.tensors:
            uniform(self.tensors[MID], draw)
        begin_magnitudes(self, module)

    def change(self, module: nn.Module) -> Tensor:
        return self.scale * product(self.tensors, module.weight.shape)

    def __call__(self, x: Tensor, module: nn.Module, multiplier: float, drops: LayerDrops | None = None) -> Tensor:
        if DORA in self.tensors:
            return super().__call__(x, module, multiplier, drops)
        down, up = self.tensors[DOWN].to(x.dtype), self.tensors[UP].to(x.dtype)
        scale, point = multiplier * self.scale, F.linear if module.weight.dim() == 2 else F.conv2d
        if MID in self.tensors:
            h = respond(module, F.conv2d(x, down), self.tensors[MID].to(x.dtype))
        else:
            h = respond(module, x, down)
        if drops is None:
            return point(h * scale, up)
        axis = -1 if point is F.linear else 1
        return drops.modules(point(drops.ranks(drops.neurons(h), axis) * scale, up))


def product(tensors: Mapping[str, Tensor], shape: Shape) -> Tensor:
    """up @ down of a layer with the weight's `shape`."""
    down, up = tensors[DOWN], tensors[UP].flatten(1)
    if MID in tensors:
        return torch.einsum("or,rs...,si->oi...", up, tensors[MID], down.flatten(1))
    return (up @ down.flatten(1)).view(shape)


def begin_magnitudes(layer: Layer, module: nn.Module) -> None:
    """Those of the weight as it is, so that decomposition changes nothing yet."""
    if DORA in layer.tensors:
        with torch.no_grad():
            magnitudes = layer.tensors[DORA]
            magnitudes.copy_(lengths(module.weight.detach().float(), magnitudes.shape))
