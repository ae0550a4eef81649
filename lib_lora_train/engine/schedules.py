"""Learning-rate schedules: pure functions of the step, so that resuming needs nothing but the step."""

from __future__ import annotations

import math
from collections.abc import Callable

from ..errors import SettingsError
from ..settings.schema import OptimizerSettings

_POLYNOMIAL_END = 1e-7  # rate


def _constant(progress: float, settings: OptimizerSettings) -> float:
    return 1.0


def _linear(progress: float, settings: OptimizerSettings) -> float:
    return max(0.0, 1.0 - progress)


def _cosine(progress: float, settings: OptimizerSettings) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def _cosine_with_restarts(progress: float, settings: OptimizerSettings) -> float:
    cycles = settings.lr_scheduler_num_cycles
    return 0.0 if progress >= 1.0 else 0.5 * (1.0 + math.cos(math.pi * (cycles * progress % 1.0)))


def _polynomial(progress: float, settings: OptimizerSettings) -> float:
    """Down to a rate of 1e-7, not to 0."""
    highest = max(settings.learning_rate, settings.unet_lr, settings.text_encoder_lr)
    end = min(1.0, _POLYNOMIAL_END / highest) if highest else 1.0
    return (1.0 - end) * max(0.0, 1.0 - progress) ** settings.lr_scheduler_power + end


# progress: 0 at the end of the warm-up, 1 at the end of the run
SHAPES: dict[str, Callable[[float, OptimizerSettings], float]] = {
    "constant": _constant,
    "constant_with_warmup": _constant,
    "linear": _linear,
    "cosine": _cosine,
    "cosine_with_restarts": _cosine_with_restarts,
    "polynomial": _polynomial,
}


def warmup_steps(settings: OptimizerSettings, total: int) -> int:
    """Below 1 a share of the run, else steps."""
    wanted = settings.lr_warmup_steps
    return int(wanted * total) if wanted < 1 else int(wanted)


def check(settings: OptimizerSettings) -> None:
    """Raises SettingsError when a warm-up is asked of a schedule that has none."""
    if settings.lr_scheduler == "constant" and settings.lr_warmup_steps:
        raise SettingsError(
            "The scheduler `constant` has no warm-up.",
            "Choose constant_with_warmup, or set Warm-up to 0.",
            "lr_warmup_steps",
        )


def factor(settings: OptimizerSettings, step: int, total: int) -> float:
    """What the learning rates are multiplied by in optimiser step `step` (0-based) of `total`.

    As transformers' schedules, but that the warm-up runs from 1/n to n/n instead of 0/n to (n-1)/n: a step at rate 0
    would be computed for nothing. From the end of the warm-up on the numbers are the same.
    """
    warmup = warmup_steps(settings, total)
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, total - warmup)
    return SHAPES[settings.lr_scheduler](progress, settings)
