"""Noise schedules: alphas_cumprod, signal-to-noise ratios, zero terminal SNR; plain functions on [T] tensors."""

from __future__ import annotations

import torch
from torch import Tensor


def scaled_linear(beta_start: float = 0.00085, beta_end: float = 0.012, steps: int = 1000) -> Tensor:
    """alphas_cumprod [T] of Stable Diffusion's "scaled linear" schedule: betas linear in their square roots."""
    betas = torch.linspace(beta_start**0.5, beta_end**0.5, steps, dtype=torch.float32) ** 2
    return torch.cumprod(1.0 - betas, dim=0)


def zero_terminal(alphas_cumprod: Tensor) -> Tensor:
    """The schedule with nothing of the picture left at the last timestep; the first keeps its value.

    sqrt(alphas_cumprod) is shifted to end at 0 and scaled back up. "Common Diffusion Noise Schedules and Sample Steps
    are Flawed" (arXiv 2305.08891), algorithm 1. Doing it twice changes nothing.
    """
    root = alphas_cumprod.double().sqrt()
    shifted = (root - root[-1]) * (root[0] / (root[0] - root[-1]))
    return (shifted**2).to(alphas_cumprod.dtype)


def is_zero_terminal(alphas_cumprod: Tensor) -> bool:
    """True for a rescaled schedule; hosts put a tiny number in place of the exact zero."""
    return bool(alphas_cumprod[-1] < 1e-6)


def snr(alphas_cumprod: Tensor) -> Tensor:
    """Signal-to-noise ratio, element by element, of the schedule trained on; exactly 0 at a zero-terminal end.

    (sd-scripts fills its table before it rescales, so there the weights belong to another schedule.)
    """
    return alphas_cumprod / (1.0 - alphas_cumprod)
