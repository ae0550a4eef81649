"""Layers that compute in their input's dtype whatever dtype their borrowed weights have; no autocast needed.

With equal dtypes they are the plain operations. Weights are frozen, so no layer has a gradient for them, and what is
kept for backward is the borrowed weight itself, never a converted copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _same(x: Tensor, *weights: Tensor | None) -> bool:
    return all(w is None or w.dtype == x.dtype for w in weights)


def _like(weight: Tensor | None, x: Tensor) -> Tensor | None:
    return None if weight is None else weight.to(x.dtype)


class _FrozenLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return F.linear(x, weight.to(x.dtype), _like(bias, x))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple:
        (weight,) = ctx.saved_tensors
        return grad @ weight.to(grad.dtype), None, None


class _FrozenConv2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, how: tuple) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.shape, ctx.how = x.shape, how
        return F.conv2d(x, weight.to(x.dtype), _like(bias, x), *how)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple:
        (weight,) = ctx.saved_tensors
        return nn.grad.conv2d_input(ctx.shape, weight.to(grad.dtype), grad, *ctx.how), None, None, None


class CastLinear(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        if _same(x, self.weight, self.bias):
            return F.linear(x, self.weight, self.bias)
        return _FrozenLinear.apply(x, self.weight, self.bias)


class CastConv2d(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        how = (self.stride, self.padding, self.dilation, self.groups)
        if _same(x, self.weight, self.bias):
            return F.conv2d(x, self.weight, self.bias, *how)
        return _FrozenConv2d.apply(x, self.weight, self.bias, how)


class CastGroupNorm(nn.GroupNorm):
    def forward(self, x: Tensor) -> Tensor:
        if _same(x, self.weight, self.bias):
            return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)
        return F.group_norm(x.float(), self.num_groups, self.weight.float(), self.bias.float(), self.eps).to(x.dtype)


class CastLayerNorm(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        if _same(x, self.weight, self.bias):
            return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        weight, bias = self.weight.float(), self.bias.float()
        return F.layer_norm(x.float(), self.normalized_shape, weight, bias, self.eps).to(x.dtype)


class CastEmbedding(nn.Embedding):
    """Its input has no floating dtype, so the compute dtype is told by `computing_in`."""

    compute_dtype: torch.dtype | None = None

    def forward(self, ids: Tensor) -> Tensor:
        return F.embedding(ids, self.weight).to(self.compute_dtype or self.weight.dtype)


_CASTING: dict[type, type] = {
    nn.Linear: CastLinear,
    nn.Conv2d: CastConv2d,
    nn.GroupNorm: CastGroupNorm,
    nn.LayerNorm: CastLayerNorm,
    nn.Embedding: CastEmbedding,
}


def make_casting(module: nn.Module) -> nn.Module:
    """Exchange the classes of the layers inside `module`; everything else about them stays."""
    for layer in module.modules():
        layer.__class__ = _CASTING.get(type(layer), type(layer))
    return module


@contextmanager
def computing_in(module: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """Inside the block embeddings in `module` answer in `dtype`, and so everything behind them computes in it."""
    embeddings = [layer for layer in module.modules() if isinstance(layer, CastEmbedding)]
    for layer in embeddings:
        layer.compute_dtype = dtype
    try:
        yield
    finally:
        for layer in embeddings:
            del layer.compute_dtype
