"""Losses of a batch, one number per sample, always in float32."""

from __future__ import annotations

from torch import Tensor


def mse(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean squared error [B] over channels, height and width of [B, C, h, w]."""
    return (predicted.float() - target.float()).square().mean(dim=(1, 2, 3))
