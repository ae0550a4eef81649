"""Noising latents and what the model should predict; pure algebra, one function per idea."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def with_offset(noise: Tensor, offsets: Tensor, strength: float) -> Tensor:
    """Noise whose mean differs by sample and channel, so that very dark and bright pictures can be learnt.

    `noise` [B, C, h, w], `offsets` [B, C, 1, 1] standard normal.
    """
    return noise + strength * offsets if strength else noise


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
