"""One low-rank adapter layer: its two matrices, how they begin, and what they add to a layer's output."""

from __future__ import annotations

import hashlib
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LoraLayer:
    """Adds alpha / rank * up(down(x)); `down` [r, in, ...] has the layer's kernel, `up` [out, r, ...] a 1x1 one.

    Parameters are float32, the computation has the input's dtype. Holds nothing of the layer but its geometry, since
    borrowed weights can move. "LoRA: Low-Rank Adaptation of Large Language Models" (arXiv 2106.09685); tensors as in
    sd-scripts.
    """

    def __init__(self, module: nn.Module, rank: int, alpha: float, device: torch.device) -> None:
        out, inputs, *kernel = module.weight.shape
        ones = [1] * len(kernel)
        self.rank, self.alpha = rank, alpha
        self.down = nn.Parameter(torch.zeros(rank, inputs, *kernel, device=device))
        self.up = nn.Parameter(torch.zeros(out, rank, *ones, device=device))
        self._geometry = (module.stride, module.padding, module.dilation) if kernel else None

    def start(self, seed: int, key: str) -> None:
        """`up` zero, `down` uniform within 1 / sqrt(fan in) (Kaiming, a = sqrt(5)), from `seed` and `key` alone."""
        digest = hashlib.blake2b(f"{seed}/{key}".encode(), digest_size=8).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
        bound = 1 / math.sqrt(self.down[0].numel())
        with torch.no_grad():
            self.down.copy_(torch.empty(self.down.shape).uniform_(-bound, bound, generator=generator))
            self.up.zero_()

    def __call__(self, x: Tensor, multiplier: float) -> Tensor:
        down, up = self.down.to(x.dtype), self.up.to(x.dtype)
        scale = multiplier * self.alpha / self.rank
        if self._geometry is None:
            return F.linear(F.linear(x, down) * scale, up)
        return F.conv2d(F.conv2d(x, down, None, *self._geometry) * scale, up)
