"""GLoRA: a low-rank change besides one that the weight itself takes part in."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .layer import Form, Found, Layer, Shape, uniform
from .spec import Spec

_A1, _A2, _B1, _B2 = "a1.weight", "a2.weight", "b1.weight", "b2.weight"


class GloraLayer(Layer):
    """Adds (weight @ a2) @ a1 + b2 @ b1; a2 [in, r], a1 [r, in], b2 [out, r], b1 [r, in]. Linear layers only.

    "One-for-All: Generalized LoRA" (arXiv 2306.07967). Alpha is always the rank, since A1111 does not read it. Tensors
    as in LyCORIS up to 3.0, which are all that A1111 can read; later files have the two of a pair exchanged.
    """

    names = (_A1, _A2, _B1, _B2)
    ranked = (_A1,)
    late = (_A2, _B2)
    scaled = (_A1, _B1)

    @staticmethod
    def form(shape: Shape, spec: Spec) -> Form | None:
        if len(shape) != 2:
            return None
        (out, inputs), rank = shape, spec.rank
        shapes = {_A1: (rank, inputs), _A2: (inputs, rank), _B1: (rank, inputs), _B2: (out, rank)}
        return Form(spec.kind, rank, float(rank), shapes)

    @staticmethod
    def spec_in(found: Found, shape: Shape) -> Spec:
        return Spec("GLoRA", min(found.shapes[_A1]))

    @staticmethod
    def ordered(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of a file in our order: of later files, and with their alpha in them."""
        if tensors[_A1].shape[0] > tensors[_A1].shape[1]:
            first = {_A1: tensors[_A2], _A2: tensors[_A1], _B1: tensors[_B2], _B2: tensors[_B1]}
            tensors = {**tensors, **first}
        return tensors

    def start(self, draw: torch.Generator, module: nn.Module) -> None:
        uniform(self.tensors[_A1], draw)
        uniform(self.tensors[_B1], draw)

    def change(self, module: nn.Module) -> Tensor:
        a1, a2, b1, b2 = (self.tensors[name] for name in self.names)
        return self.scale * ((module.weight.detach().float() @ a2) @ a1 + b2 @ b1)

    def shrink(self, ratio: float) -> None:
        with torch.no_grad():
            for name in self.scaled:
                self.tensors[name].mul_(ratio)
