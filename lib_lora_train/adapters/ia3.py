"""(IA)^3: one number per output of a layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .layer import Form, Found, Layer, Shape
from .spec import Spec

_WEIGHT, _ON_INPUT = "weight", "on_input"


class Ia3Layer(Layer):
    """Adds weight * w, one number of `w` per output, or per input in files that say so. Linear layers only: the web UIs
    cannot apply it to a convolution's outputs (golden 09_deltas).

    "Few-Shot Parameter-Efficient Fine-Tuning" (arXiv 2205.05638); tensors as in LyCORIS.
    """

    names = (_WEIGHT, _ON_INPUT)
    scaled = (_WEIGHT,)
    late = ()
    has_alpha = False

    @staticmethod
    def form(shape: Shape, spec: Spec) -> Form | None:
        if len(shape) != 2:
            return None
        return Form(spec.kind, 1, 1.0, {_WEIGHT: (shape[0],)}, constants={_ON_INPUT: 0})

    @classmethod
    def form_in(cls, found: Found, shape: Shape) -> Form | None:
        on_input = int(found.constants.get(_ON_INPUT, 0))
        return Form("IA3", 1, 1.0, {_WEIGHT: found.shapes[_WEIGHT]}, constants={_ON_INPUT: on_input})

    def start(self, draw: torch.Generator, module: nn.Module) -> None:
        """Zero, where it begins."""

    def change(self, module: nn.Module) -> Tensor:
        weight, factor = module.weight.detach().float(), self.tensors[_WEIGHT].flatten()
        ones = [1] * (weight.dim() - 2)
        shape = (1, -1, *ones) if self.form.constants[_ON_INPUT] else (-1, 1, *ones)
        return weight * factor.view(shape)
