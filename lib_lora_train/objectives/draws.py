"""Random draws of training samples, keyed by what they are for, so that batch, order and process do not matter."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Key(Protocol):
    """One use of a picture in the run (`data.types.SampleKey`)."""

    @property
    def epoch(self) -> int: ...
    @property
    def image(self) -> int: ...
    @property
    def repeat(self) -> int: ...


@dataclass(frozen=True)
class Draws:
    """`noise` [B, C, h, w] and `offsets` [B, C, 1, 1] standard normal, `timesteps` [B] int64 in 0..T-1."""

    noise: Tensor
    timesteps: Tensor
    offsets: Tensor

    def to(self, device: torch.device) -> Draws:
        return Draws(self.noise.to(device), self.timesteps.to(device), self.offsets.to(device))


def generator(seed: int, key: Key, purpose: str) -> torch.Generator:
    """A CPU generator that depends on nothing but its arguments."""
    text = f"{seed}/{key.epoch}/{key.image}/{key.repeat}/{purpose}".encode()
    digest = hashlib.blake2b(text, digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def draw(seed: int, keys: Sequence[Key], shape: Sequence[int], timesteps: int) -> Draws:
    """The draws of a batch on the CPU. `shape` is (C, h, w) of one sample, `timesteps` the schedule's length T."""
    channels = (shape[0], 1, 1)
    return Draws(
        noise=torch.stack([torch.randn(tuple(shape), generator=generator(seed, k, "noise")) for k in keys]),
        timesteps=torch.cat([torch.randint(timesteps, (1,), generator=generator(seed, k, "timestep")) for k in keys]),
        offsets=torch.stack([torch.randn(channels, generator=generator(seed, k, "offset")) for k in keys]),
    )
