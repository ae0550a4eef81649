"""What sits out a training step: neurons, ranks, whole modules. Every draw follows from seed, sample and layer alone.

So a resumed run draws what an uninterrupted one would, a block that gradient checkpointing computes twice draws the
same twice, and a sample draws the same in any batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Shares:
    """How much of each sits out, 0 to 1."""

    neurons: float = 0.0
    ranks: float = 0.0
    modules: float = 0.0


@dataclass(frozen=True)
class Drops:
    """Of one forward and backward pass over `samples`, in the order of the batch."""

    seed: int
    samples: Sequence[str]
    shares: Shares

    def at(self, key: str) -> LayerDrops:
        return LayerDrops(self, key)


@dataclass(frozen=True)
class LayerDrops:
    """Those of the layer `key`."""

    drops: Drops
    key: str

    def neurons(self, h: Tensor) -> Tensor:
        """Each number of `h` by itself; the others grow, so that the mean stays."""
        share = self.drops.shares.neurons
        return h * self.kept("neurons", h.shape, share, h) / (1 - share) if share else h

    def ranks(self, h: Tensor, axis: int) -> Tensor:
        """Each index of `axis` in each sample; the others grow, so that the mean stays."""
        share = self.drops.shares.ranks
        shape = [size if at in (0, axis % h.dim()) else 1 for at, size in enumerate(h.shape)]
        return h * self.kept("ranks", shape, share, h) / (1 - share) if share else h

    def channels(self, y: Tensor, like: Tensor, module: nn.Module) -> Tensor:
        """As `ranks`, along a layer's output channels: for kinds without ranks that could be left out."""
        return self.ranks(y, 1 if isinstance(module, (nn.Conv2d, nn.GroupNorm)) else like.dim() - 1)

    def modules(self, y: Tensor) -> Tensor:
        """All that the adapter adds for a sample, or nothing."""
        share = self.drops.shares.modules
        return y * self.kept("modules", [len(y), *[1] * (y.dim() - 1)], share, y) if share else y

    def pick(self, count: int) -> int:
        """One of `count`, the same for all samples."""
        draw = self._generator("pick", "/".join(self.drops.samples), torch.device("cpu"))
        return int(torch.randint(count, (), generator=draw))

    def kept(self, what: str, shape: Sequence[int], share: float, like: Tensor) -> Tensor:
        """1 where something stays, else 0, in `like`'s dtype; the rows of a sample are drawn together."""
        samples = self.drops.samples
        if len(samples) == 0 or shape[0] % len(samples):
            samples = ["/".join(samples)]
        rows = [shape[0] // len(samples), *shape[1:]]
        drawn = [
            torch.rand(rows, generator=self._generator(what, sample, like.device), device=like.device)
            for sample in samples
        ]
        return (torch.cat(drawn) >= share).to(like.dtype)

    def _generator(self, what: str, sample: str, device: torch.device) -> torch.Generator:
        text = f"{self.drops.seed}/{sample}/{self.key}/{what}"
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        return torch.Generator(device).manual_seed(int.from_bytes(digest, "little") >> 1)
