"""Loss weights by signal-to-noise ratio; each takes snr [B] and gives weights [B], finite also where snr is 0."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

_LEAST, _MOST = 1e-3, 1000.0  # plain Stable Diffusion schedules go from 0.0047 to 1175


def min_snr_epsilon(snr: Tensor, gamma: float) -> Tensor:
    """min(snr, gamma) / snr (arXiv 2303.09556), written so that snr = 0 gives its limit 1 instead of 0 / 0."""
    return (gamma / snr).clamp(max=1.0)


def min_snr_v(snr: Tensor, gamma: float) -> Tensor:
    """min(snr, gamma) / (snr + 1), the same idea for velocity targets."""
    return snr.clamp(max=gamma) / (snr + 1.0)


def noise_like_v(snr: Tensor) -> Tensor:
    """s / (s + 1): velocity errors count as the errors of the noise that they are."""
    capped = snr.clamp(max=_MOST)
    return capped / (capped + 1.0)


def v_like(snr: Tensor, strength: float) -> Tensor:
    """1 + k (s + 1) / s: adds what the error would count as one of velocity."""
    capped = snr.clamp(_LEAST, _MOST)
    return 1.0 + strength * (capped + 1.0) / capped


def debiased_epsilon(snr: Tensor) -> Tensor:
    """1 / sqrt(s), "Debias the Training of Diffusion Models" (arXiv 2310.08442)."""
    return snr.clamp(_LEAST, _MOST).rsqrt()


def debiased_v(snr: Tensor) -> Tensor:
    """1 / (s + 1), the same for velocity targets."""
    return 1.0 / (snr.clamp(max=_MOST) + 1.0)


MIN_SNR: dict[str, Callable[[Tensor, float], Tensor]] = {"epsilon": min_snr_epsilon, "v_prediction": min_snr_v}
DEBIASED: dict[str, Callable[[Tensor], Tensor]] = {"epsilon": debiased_epsilon, "v_prediction": debiased_v}
