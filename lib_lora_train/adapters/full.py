"""Whole weights: every number of a layer, or of a normalisation, learns by itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .layer import Form, Found, Layer, Shape
from .spec import Spec


class FullLayer(Layer):
    """Adds `diff` to the weight; files of other trainers may hold `diff_b` for the bias too."""

    names = ("diff", "diff_b")
    scaled = ("diff",)
    late = ("diff",)
    has_alpha = False

    @staticmethod
    def form(shape: Shape, spec: Spec) -> Form | None:
        return Form(spec.kind, 1, 1.0, {"diff": tuple(shape)}) if len(shape) >= 2 else None

    @classmethod
    def form_in(cls, found: Found, shape: Shape) -> Form | None:
        weight, bias = cls.names
        shapes = {weight: tuple(shape)} | ({bias: (shape[0],)} if bias in found.shapes else {})
        return Form("full" if weight == "diff" else "norm", 1, 1.0, shapes)

    def start(self, draw: torch.Generator, module: nn.Module) -> None:
        """Zero, where it begins."""

    def change(self, module: nn.Module) -> Tensor:
        return self.tensors[self.names[0]]

    def bias_change(self) -> Tensor | None:
        return self.tensors.get(self.names[1])


class NormLayer(FullLayer):
    """Adds `w_norm` and `b_norm` to a normalisation's weight and bias; tensors as in LyCORIS."""

    names = ("w_norm", "b_norm")
    scaled = ("w_norm",)
    late = ("w_norm",)

    @staticmethod
    def form(shape: Shape, spec: Spec) -> Form | None:
        return Form(spec.kind, 1, 1.0, {"w_norm": tuple(shape), "b_norm": tuple(shape)}) if len(shape) == 1 else None
