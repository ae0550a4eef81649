"""Noising latents and what the model should predict; pure algebra, one function per idea."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def with_offset(noise: Tensor, offsets: Tensor, strength: Tensor | float) -> Tensor:
    """Noise whose mean differs by sample and channel, so that very dark and bright pictures can be learnt.

    `noise` [B, C, h, w], `offsets` [B, C, 1, 1] standard normal, `strength` a number or of the offsets' shape.
    """
    return noise + strength * offsets


def adaptive_strength(strength: Tensor | float, latents: Tensor, scale: float) -> Tensor:
    """[B, C, 1, 1]: more offset (less, with a negative scale) where a channel's mean is far from 0; not below 0."""
    return (strength + scale * latents.mean(dim=(2, 3), keepdim=True).abs()).clamp(min=0.0)


def with_coarse(noise: Tensor, coarse: Tensor) -> Tensor:
    """Noise and its coarser levels together, each sample back at standard deviation 1 ("pyramid" or multires noise).

    sd-scripts divides by the deviation of the whole batch, so there a sample depends on its neighbours.
    """
    mixed = noise + coarse
    return mixed / mixed.std(dim=(1, 2, 3), keepdim=True)


def coarse_noise(levels: Sequence[Tensor], size: Sequence[int], discount: float) -> Tensor:
    """Noise tensors [B, C, h_i, w_i], finest first, enlarged to `size` (h, w) and added, level i times discount^i."""
    enlarged = [F.interpolate(level, tuple(size), mode="bilinear") for level in levels]
    return torch.stack([level * discount**i for i, level in enumerate(enlarged)]).sum(dim=0)


def _factors(alphas_cumprod: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    kept = alphas_cumprod[timesteps].view(-1, 1, 1, 1)
    return kept.sqrt(), (1.0 - kept).sqrt()


def add_noise(alphas_cumprod: Tensor, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """x_t = sqrt(a) x_0 + sqrt(1 - a) noise; latents [B, C, h, w], timesteps [B]."""
    signal, sigma = _factors(alphas_cumprod, timesteps)
    return signal * latents + sigma * noise


def epsilon(alphas_cumprod: Tensor, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """The noise itself."""
    return noise


def velocity(alphas_cumprod: Tensor, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """v = sqrt(a) noise - sqrt(1 - a) x_0 (arXiv 2202.00512)."""
    signal, sigma = _factors(alphas_cumprod, timesteps)
    return signal * noise - sigma * latents


TARGETS: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "epsilon": epsilon,
    "v_prediction": velocity,
}
