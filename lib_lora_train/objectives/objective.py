"""The whole objective of a run in one object: how latents are noised, what is asked of the model, how errors count."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..errors import SettingsError
from ..families.loan import Loan
from ..settings.schema import LossSettings
from . import losses, schedule, targets, weightings
from .draws import Draws


@dataclass(frozen=True)
class Objective:
    """`alphas_cumprod` [T] float32 on the device of the latents; `prediction` epsilon or v_prediction."""

    alphas_cumprod: Tensor
    prediction: str = "epsilon"
    min_snr_gamma: float = 0.0
    noise_offset: float = 0.0

    @property
    def timesteps(self) -> int:
        return len(self.alphas_cumprod)

    def noised(self, latents: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """(noisy latents, target), both [B, C, h, w] float32."""
        noise = targets.with_offset(draws.noise, draws.offsets, self.noise_offset)
        arguments = (self.alphas_cumprod, latents, noise, draws.timesteps)
        return targets.add_noise(*arguments), targets.TARGETS[self.prediction](*arguments)

    def losses(self, predicted: Tensor, target: Tensor, timesteps: Tensor) -> Tensor:
        """Loss per sample [B], weighted by min-SNR when that is on; not yet by the samples' own weights."""
        plain = losses.mse(predicted, target)
        if not self.min_snr_gamma:
            return plain
        snr = schedule.snr(self.alphas_cumprod[timesteps])
        return plain * weightings.MIN_SNR[self.prediction](snr, self.min_snr_gamma)


def objective_of(loan: Loan, wanted: LossSettings) -> Objective:
    """What `auto` means for this loan. Raises SettingsError when the loaded schedule cannot be what was asked for."""
    velocity = {"auto": loan.prediction == "v_prediction", "yes": True, "no": False}[wanted.v_parameterization]
    zero = {"auto": loan.zero_terminal_snr, "yes": True, "no": False}[wanted.zero_terminal_snr]
    alphas_cumprod = loan.alphas_cumprod.float()
    if not zero and schedule.is_zero_terminal(alphas_cumprod):
        raise SettingsError(
            "The loaded checkpoint's noise schedule ends at zero SNR, so zero_terminal_snr cannot be off.",
            "Set it to auto.",
            "zero_terminal_snr",
        )
    return Objective(
        (schedule.zero_terminal(alphas_cumprod) if zero else alphas_cumprod).to(loan.device),
        "v_prediction" if velocity else "epsilon",
        wanted.min_snr_gamma,
        wanted.noise_offset,
    )
