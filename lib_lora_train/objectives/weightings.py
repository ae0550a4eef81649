"""Loss weights by signal-to-noise ratio; each takes snr [B] and gives weights [B], finite also where snr is 0."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def min_snr_epsilon(snr: Tensor, gamma: float) -> Tensor:
    """min(snr, gamma) / snr (arXiv 2303.09556), written so that snr = 0 gives its limit 1 instead of 0 / 0."""
    return (gamma / snr).clamp(max=1.0)


def min_snr_v(snr: Tensor, gamma: float) -> Tensor:
    """min(snr, gamma) / (snr + 1), the same idea for velocity targets."""
    return snr.clamp(max=gamma) / (snr + 1.0)


MIN_SNR: dict[str, Callable[[Tensor, float], Tensor]] = {"epsilon": min_snr_epsilon, "v_prediction": min_snr_v}
