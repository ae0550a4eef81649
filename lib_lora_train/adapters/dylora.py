"""DyLoRA: a LoRA whose every lower rank works by itself, since each step trains a random few of its ranks."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .drops import LayerDrops
from .layer import respond
from .lora import DOWN, UP, LoraLayer


class DyloraLayer(LoraLayer):
    """In a training step the first ranks up to a random one answer, and only the last `unit` of them learn; the answer
    grows by sqrt(rank / ranks used). Saved and drawn with it is an ordinary LoRA.

    "DyLoRA" (arXiv 2210.07558), in sd-scripts' way.
    """

    names = (DOWN, UP)

    def __call__(self, x: Tensor, module: nn.Module, multiplier: float, drops: LayerDrops | None = None) -> Tensor:
        if drops is None:
            return super().__call__(x, module, multiplier)
        rank, unit = self.form.rank, self.form.unit
        held = drops.pick(-(-rank // unit)) * unit
        used = min(held + unit, rank)
        down, up = self._partly(self.tensors[DOWN], 0, held, used), self._partly(self.tensors[UP], 1, held, used)
        linear = module.weight.dim() == 2
        h = respond(module, x, down.to(x.dtype))
        h = drops.ranks(drops.neurons(h), -1 if linear else 1) * (multiplier * self.scale * math.sqrt(rank / used))
        return drops.modules((F.linear if linear else F.conv2d)(h, up.to(x.dtype)))

    @staticmethod
    def _partly(tensor: Tensor, axis: int, held: int, used: int) -> Tensor:
        """The first `used` of it, of which the first `held` do not learn."""
        kept, learns = tensor.narrow(axis, 0, held).detach(), tensor.narrow(axis, held, used - held)
        return torch.cat([kept, learns], dim=axis)
