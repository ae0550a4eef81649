"""LoHa: the element-wise product of two low-rank matrices."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .layer import DORA, Form, Found, Layer, Shape, magnitudes_shape, normal
from .lora import begin_magnitudes
from .spec import Spec

_A, _B = ("hada_w1_a", "hada_w2_a"), ("hada_w1_b", "hada_w2_b")
_T = ("hada_t1", "hada_t2")


class LohaLayer(Layer):
    """Adds alpha / rank * (w1_a @ w1_b) o (w2_a @ w2_b); a [out, r], b [r, in * kernel].

    "FedPara" (arXiv 2108.06098); tensors and first values as in LyCORIS, Tucker's form too: a [r, out], b [r, in],
    t [r, r, ...].
    """

    names = (_A[0], _B[0], _A[1], _B[1], *_T, DORA)
    scaled = (_A[0], _B[0])
    ranked = (_B[0],)
    late = (_A[1],)

    @staticmethod
    def form(shape: Shape, spec: Spec) -> Form | None:
        if len(shape) < 2:
            return None
        (out, inputs, *kernel), rank = shape, spec.rank
        if spec.tucker and any(size != 1 for size in kernel):
            a, b, core = (rank, out), (rank, inputs), dict.fromkeys(_T, (rank, rank, *kernel))
        else:
            a, b, core = (out, rank), (rank, inputs * math.prod(kernel)), {}
        shapes = {_A[0]: a, _B[0]: b, _A[1]: a, _B[1]: b, **core}
        if spec.decompose:
            shapes[DORA] = magnitudes_shape(shape)
        return Form(spec.kind, rank, spec.alpha, shapes)

    @staticmethod
    def spec_in(found: Found, shape: Shape) -> Spec:
        return Spec("LoHa", found.shapes[_B[0]][0], tucker=_T[0] in found.shapes, decompose=DORA in found.shapes)

    def start(self, draw: torch.Generator, module: nn.Module) -> None:
        for name, std in ((_B[0], 1.0), (_A[0], 0.1), (_B[1], 1.0), (_T[0], 0.1), (_T[1], 0.1)):
            if name in self.tensors:
                normal(self.tensors[name], draw, std)
        begin_magnitudes(self, module)

    def change(self, module: nn.Module) -> Tensor:
        first, second = (self._half(index).view(module.weight.shape) for index in range(2))
        return self.scale * first * second

    def _half(self, index: int) -> Tensor:
        a, b = self.tensors[_A[index]], self.tensors[_B[index]]
        if _T[index] not in self.tensors:
            return a @ b
        return torch.einsum("rs...,ro,si->oi...", self.tensors[_T[index]], a, b)
