"""LoKr: a Kronecker product of a small matrix and a large one, which may be of low rank."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .layer import DORA, Form, Found, Layer, Shape, magnitudes_in, magnitudes_shape, uniform
from .lora import begin_magnitudes
from .spec import Spec

_W1, _W1A, _W1B = "lokr_w1", "lokr_w1_a", "lokr_w1_b"
_W2, _W2A, _W2B, _T2 = "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2"


class LokrLayer(Layer):
    """Adds alpha / rank * kron(w1, w2), without the scale where both are whole; w1 [a, c], w2 [b, d, ...] with
    a * b = out, c * d = in. w2 is of low rank where that is smaller, w1 too with `decompose_both`.

    "LyCORIS" (arXiv 2309.14859), section 3.2; sizes, tensors and first values as in lycoris-lora.
    """

    names = (_W1, _W1A, _W1B, _W2, _W2A, _W2B, _T2, DORA)
    ranked = (_W2B, _W1B)
    late = (_W2, _W2B)

    @staticmethod
    def form(shape: Shape, spec: Spec) -> Form | None:
        if len(shape) < 2:
            return None
        (out, inputs, *kernel), rank = shape, spec.rank
        (a, b), (c, d) = factors(out, spec.factor), factors(inputs, spec.factor)
        shapes: dict[str, Shape] = {}
        if spec.decompose_both and rank < max(a, c) / 2 and not spec.full_matrix:
            shapes |= {_W1A: (a, rank), _W1B: (rank, c)}
        else:
            shapes[_W1] = (a, c)
        if rank >= max(b, d) / 2 or spec.full_matrix:
            shapes[_W2] = (b, d, *kernel)
        elif spec.tucker and any(size != 1 for size in kernel):
            shapes |= {_W2A: (rank, b), _W2B: (rank, d), _T2: (rank, rank, *kernel)}
        else:
            shapes |= {_W2A: (b, rank), _W2B: (rank, d * math.prod(kernel))}
        alpha = float(rank) if _W1 in shapes and _W2 in shapes else spec.alpha
        if spec.decompose:
            shapes[DORA] = magnitudes_shape(shape)
        return Form(spec.kind, rank, alpha, shapes)

    @classmethod
    def form_in(cls, found: Found, shape: Shape) -> Form | None:
        """The shapes say all; the factor need not be known."""
        shapes = {name: found.shapes[name] for name in cls.names if name in found.shapes}
        shapes |= magnitudes_in(found, shape)
        rank = next((shapes[name][0] for name in (_W2B, _W1B) if name in shapes), 1)
        whole = _W1 in shapes and _W2 in shapes
        return Form("LoKr", rank, float(rank) if whole or found.alpha is None else found.alpha, shapes)

    @property
    def alpha_scales(self) -> bool:
        return not (_W1 in self.tensors and _W2 in self.tensors)

    def start(self, draw: torch.Generator, module: nn.Module) -> None:
        for name in (_T2, _W2A, _W1, _W1A, _W1B):
            if name in self.tensors:
                uniform(self.tensors[name], draw)
        begin_magnitudes(self, module)

    def change(self, module: nn.Module) -> Tensor:
        w1, w2 = self._first(), self._second()
        w1 = w1.view(*w1.shape, *[1] * (w2.dim() - 2))
        return self.scale * torch.kron(w1, w2.contiguous()).view(module.weight.shape)

    def _first(self) -> Tensor:
        return self.tensors[_W1] if _W1 in self.tensors else self.tensors[_W1A] @ self.tensors[_W1B]

    def _second(self) -> Tensor:
        if _W2 in self.tensors:
            return self.tensors[_W2]
        a, b = self.tensors[_W2A], self.tensors[_W2B]
        return a @ b if _T2 not in self.tensors else torch.einsum("rs...,ro,si->oi...", self.tensors[_T2], a, b)

    def _scaled(self) -> list[str]:
        return [_W1] if _W1 in self.tensors else [_W1A, _W1B]


def factors(number: int, limit: int) -> tuple[int, int]:
    """Two factors of `number`, the smaller first: `limit` itself where it divides, else the nearest to a square whose
    smaller one is not above it; -1 is no limit. As lycoris-lora chooses them, since files depend on it."""
    if limit > 0 and number % limit == 0:
        return min(limit, number // limit), max(limit, number // limit)
    most = math.isqrt(number) if limit < 0 else min(limit, math.isqrt(number))
    small = next(small for small in range(max(most, 1), 0, -1) if number % small == 0)
    return small, number // small
