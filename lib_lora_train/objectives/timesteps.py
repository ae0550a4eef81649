"""Densities of timesteps: how often each amount of noise is trained. One number in 0..1 becomes another."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Density:
    """`kind` is a key of KINDS; the numbers are those of `LossSettings` and matter to the kinds that name them."""

    kind: str = "uniform"
    sigmoid_scale: float = 1.0
    logit_mean: float = 0.0
    logit_std: float = 1.0
    mode_scale: float = 1.29
    shift: float = 1.0


def _sigmoid(density: Density, source: torch.Generator) -> Tensor:
    """sigmoid(scale n): the middle more often; a larger scale flattens it and then favours both ends."""
    return torch.sigmoid(density.sigmoid_scale * torch.randn((), generator=source))


def _logit_normal(density: Density, source: torch.Generator) -> Tensor:
    """sigmoid(mean + std n); a mean above 0 goes towards noise ("Scaling Rectified Flow Transformers", 3.1)."""
    return torch.sigmoid(density.logit_mean + density.logit_std * torch.randn((), generator=source))


def _mode(density: Density, source: torch.Generator) -> Tensor:
    """Of the same paper: with heavy tails, so that both ends stay likely; above 0 the middle, below 0 the ends."""
    u = torch.rand((), generator=source)
    return (1.0 - u - density.mode_scale * (torch.cos(math.pi * u / 2).square() - 1.0 + u)).clamp(0.0, 1.0)


def _cosmap(density: Density, source: torch.Generator) -> Tensor:
    """Of the same paper: density 2 / (pi (1 - 2 x + 2 x^2)), twice as often in the middle as at the ends."""
    u = torch.rand((), generator=source)
    return 1.0 - 1.0 / (torch.tan(math.pi / 2 * u) + 1.0)


def _shift(density: Density, source: torch.Generator) -> Tensor:
    """The sigmoid's numbers moved towards noise by a shift above 1, as for large pictures: s x / (1 + (s - 1) x)."""
    x = _sigmoid(density, source)
    return density.shift * x / (1.0 + (density.shift - 1.0) * x)


KINDS: dict[str, Callable[[Density, torch.Generator], Tensor]] = {
    "sigmoid": _sigmoid,
    "logit_normal": _logit_normal,
    "mode": _mode,
    "cosmap": _cosmap,
    "shift": _shift,
}


def draw(density: Density, first: int, last: int, source: torch.Generator) -> Tensor:
    """One timestep, int64 in `first`..`last` - 1 (`first` when these are equal): the density over that range."""
    last = max(last, first + 1)
    if density.kind == "uniform":
        return torch.randint(first, last, (1,), generator=source)[0]
    x = KINDS[density.kind](density, source)
    return (first + (x * (last - first)).long()).clamp(max=last - 1)
