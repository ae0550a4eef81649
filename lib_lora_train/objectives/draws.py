"""Random draws of training samples, keyed by what they are for, so that batch, order and process do not matter."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Protocol

import torch
from torch import Tensor

from . import timesteps
from .targets import coarse_noise
from .timesteps import Density


class Key(Protocol):
    """One use of a picture in the run (`data.types.SampleKey`)."""

    @property
    def epoch(self) -> int: ...
    @property
    def image(self) -> int: ...
    @property
    def repeat(self) -> int: ...


@dataclass(frozen=True)
class Wanted:
    """What is drawn besides noise and offsets. Timesteps come from `first` to `last` - 1, all are `first` when these
    are equal, as often as `density` says. `levels` of multires noise at most, 0 for none."""

    first: int = 0
    last: int = 1000
    levels: int = 0
    discount: float = 0.0
    perturbation: bool = False
    density: Density = Density()


@dataclass(frozen=True)
class Draws:
    """`noise` [B, C, h, w] and `offsets` [B, C, 1, 1] standard normal, `timesteps` [B] int64 in 0..T-1, `strengths`
    [B] and `perturbation_strengths` [B] uniform in 0..1; `coarse` (levels of multires noise, added up) and
    `perturbation` as noise, None when not wanted."""

    noise: Tensor
    timesteps: Tensor
    offsets: Tensor
    strengths: Tensor | None = None
    coarse: Tensor | None = None
    perturbation: Tensor | None = None
    perturbation_strengths: Tensor | None = None

    def to(self, device: torch.device) -> Draws:
        moved = {f.name: getattr(self, f.name) for f in fields(self)}
        return Draws(**{name: None if value is None else value.to(device) for name, value in moved.items()})


def generator(seed: int, key: Key, purpose: str) -> torch.Generator:
    """A CPU generator that depends on nothing but its arguments."""
    text = f"{seed}/{key.epoch}/{key.image}/{key.repeat}/{purpose}".encode()
    digest = hashlib.blake2b(text, digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def draw(seed: int, keys: Sequence[Key], shape: Sequence[int], wanted: Wanted | int) -> Draws:
    """The draws of a batch on the CPU. `shape` is (C, h, w) of one sample; an int for `wanted` is the schedule's
    length T. Each purpose has a generator of its own, so that switching one on leaves the others as they were."""
    wanted = Wanted(last=wanted) if isinstance(wanted, int) else wanted
    shape, channels = tuple(shape), (shape[0], 1, 1)

    def stacked(one: Callable[[torch.Generator], Tensor], purpose: str) -> Tensor:
        return torch.stack([one(generator(seed, key, purpose)) for key in keys])

    return Draws(
        noise=stacked(lambda g: torch.randn(shape, generator=g), "noise"),
        timesteps=stacked(lambda g: timesteps.draw(wanted.density, wanted.first, wanted.last, g), "timestep"),
        offsets=stacked(lambda g: torch.randn(channels, generator=g), "offset"),
        strengths=stacked(lambda g: torch.rand((), generator=g), "offset strength"),
        coarse=stacked(lambda g: _coarse(shape, wanted, g), "multires") if wanted.levels else None,
        perturbation=stacked(lambda g: torch.randn(shape, generator=g), "perturb") if wanted.perturbation else None,
        perturbation_strengths=stacked(lambda g: torch.rand((), generator=g), "perturb strength"),
    )


def _coarse(shape: tuple[int, ...], wanted: Wanted, source: torch.Generator) -> Tensor:
    """Level i has sides about (2 to 4)^i times smaller, by chance; the last is the one in which a side is 1.
    "Multi-Resolution Noise for Diffusion Model Training" (Whitaker 2023)."""
    channels, height, width = shape
    levels = []
    for i in range(wanted.levels):
        shrink = (2.0 + 2.0 * torch.rand((), generator=source).item()) ** i
        sides = max(1, int(height / shrink)), max(1, int(width / shrink))
        levels.append(torch.randn(1, channels, *sides, generator=source))
        if 1 in sides:
            break
    return coarse_noise(levels, (height, width), wanted.discount)[0]
