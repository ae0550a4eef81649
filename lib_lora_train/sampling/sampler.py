"""Deterministic samplers on a noise schedule; the model comes in as a function of (x, timestep)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Model = Callable[[Tensor, int], Tensor]


def trailing_timesteps(total: int, steps: int) -> list[int]:
    """`steps` timesteps from the very last of the schedule down, evenly spaced, as a zero-terminal schedule needs it
    (arXiv 2305.08891, table 2, "trailing"). Fewer when the schedule has fewer."""
    steps = min(steps, total)
    return [round(total * (steps - i) / steps) - 1 for i in range(steps)]


def split(output: Tensor, x: Tensor, kept: Tensor, prediction: str) -> tuple[Tensor, Tensor]:
    """(x_0, noise) that the model's `output` at `x` stands for; `kept` is alphas_cumprod at its timestep."""
    signal, sigma = kept.sqrt(), (1.0 - kept).sqrt()
    if prediction == "v_prediction":
        return signal * x - sigma * output, signal * output + sigma * x
    return (x - sigma * output) / signal.clamp(min=1e-4), output


def ddim(model: Model, noise: Tensor, alphas_cumprod: Tensor, prediction: str, steps: int) -> Tensor:
    """Latents from `noise` [B, C, h, w] by DDIM without added noise (arXiv 2010.02502, eq. 12, sigma 0).

    The same steps as Euler's method on the probability flow in x / sqrt(alphas_cumprod). The last step ends at x_0.
    """
    x, timesteps = noise, trailing_timesteps(len(alphas_cumprod), steps)
    for here, there in zip(timesteps, [*timesteps[1:], None], strict=True):
        clean, noise = split(model(x, here), x, alphas_cumprod[here], prediction)
        kept = torch.ones_like(alphas_cumprod[0]) if there is None else alphas_cumprod[there]
        x = kept.sqrt() * clean + (1.0 - kept).sqrt() * noise
    return x
