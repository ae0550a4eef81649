"""Losses of a batch, always in float32: errors by element, thresholds of the robust ones, one number per sample."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def l2(difference: Tensor, threshold: Tensor) -> Tensor:
    return difference.square()


def l1(difference: Tensor, threshold: Tensor) -> Tensor:
    return difference.abs()


def smooth_l1(difference: Tensor, threshold: Tensor) -> Tensor:
    """2 (sqrt(d^2 + h^2) - h): like d^2 / h below the threshold h, like 2 |d| above it ("pseudo-Huber")."""
    return 2.0 * ((difference.square() + threshold.square()).sqrt() - threshold)


def huber(difference: Tensor, threshold: Tensor) -> Tensor:
    """The same times h, so that small errors count as in L2 whatever the threshold."""
    return threshold * smooth_l1(difference, threshold)


KINDS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"l2": l2, "l1": l1, "huber": huber, "smooth_l1": smooth_l1}


def by_element(kind: str, predicted: Tensor, target: Tensor, thresholds: Tensor) -> Tensor:
    """[B, C, h, w]; `thresholds` [B] matter to huber and smooth_l1 only."""
    return KINDS[kind](predicted.float() - target.float(), thresholds.view(-1, 1, 1, 1))


def masked(errors: Tensor, masks: Tensor) -> Tensor:
    """`errors` [B, C, h, w] times `masks` [B, H, W] in 0..1, shrunk to their size by averaging. Not renormalised: a
    picture of which half counts has half the loss, as in sd-scripts (golden 01_loss_noise `masked_loss`)."""
    return errors * F.interpolate(masks.to(errors.dtype)[:, None], errors.shape[2:], mode="area")


def per_sample(errors: Tensor) -> Tensor:
    """Mean [B] over channels, height and width of [B, C, h, w]."""
    return errors.mean(dim=(1, 2, 3))


def _exponential(alphas_cumprod: Tensor, c: float) -> Tensor:
    """From 1 at no noise to c at full noise."""
    steps = torch.arange(len(alphas_cumprod), dtype=torch.float32, device=alphas_cumprod.device)
    return torch.exp(steps * (math.log(c) / len(alphas_cumprod)))


def _snr(alphas_cumprod: Tensor, c: float) -> Tensor:
    """By sigma = sqrt((1 - a) / a): near 1 where there is little noise, c where there is much."""
    sigmas = ((1.0 - alphas_cumprod) / alphas_cumprod).sqrt()
    return (1.0 - c) / (1.0 + sigmas).square() + c


def _constant(alphas_cumprod: Tensor, c: float) -> Tensor:
    return torch.full_like(alphas_cumprod, c)


SCHEDULES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "snr": _snr,
    "exponential": _exponential,
    "constant": _constant,
}


def thresholds(schedule: str, alphas_cumprod: Tensor, c: float, scale: float) -> Tensor:
    """Threshold [T] of every timestep. "Improving Diffusion Models's Data-Corruption Resistance using Scheduled
    Pseudo-Huber Loss" (arXiv 2403.16728). `scale` acts on every schedule (in sd-scripts not on `snr`)."""
    return SCHEDULES[schedule](alphas_cumprod, c) * scale
