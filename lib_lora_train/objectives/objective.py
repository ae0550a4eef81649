"""The whole objective of a run in one object: how latents are noised, what is asked of the model, how errors count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import SettingsError
from ..families.loan import Loan
from ..settings.schema import LossSettings
from . import losses, schedule, targets, weightings
from .draws import Draws, Key, Wanted, draw
from .timesteps import Density


@dataclass(frozen=True)
class Objective:
    """`alphas_cumprod` [T] float32 on the device of the latents; `prediction` epsilon or v_prediction.

    `weighed_by`: the schedule whose signal-to-noise ratios weigh the losses, None for the one trained on. The other
    fields are those of `LossSettings`.
    """

    alphas_cumprod: Tensor
    prediction: str = "epsilon"
    min_snr_gamma: float = 0.0
    noise_offset: float = 0.0
    noise_offset_random_strength: bool = False
    adaptive_noise_scale: float = 0.0
    multires_noise_iterations: int = 0
    multires_noise_discount: float = 0.3
    ip_noise_gamma: float = 0.0
    ip_noise_gamma_random_strength: bool = False
    min_timestep: int = 0
    max_timestep: int = 1000
    timestep_sampling: str = "uniform"
    sigmoid_scale: float = 1.0
    logit_mean: float = 0.0
    logit_std: float = 1.0
    mode_scale: float = 1.29
    discrete_flow_shift: float = 1.0
    loss_type: str = "l2"
    huber_schedule: str = "snr"
    huber_c: float = 0.1
    huber_scale: float = 1.0
    scale_v_pred_loss_like_noise_pred: bool = False
    v_pred_like_loss: float = 0.0
    debiased_estimation_loss: bool = False
    weighed_by: Tensor | None = None

    @property
    def timesteps(self) -> int:
        return len(self.alphas_cumprod)

    def draw(self, seed: int, keys: Sequence[Key], shape: Sequence[int]) -> Draws:
        """The draws of a batch, on the CPU; `shape` (C, h, w)."""
        first = min(self.min_timestep, self.timesteps - 1)
        wanted = Wanted(
            first=first,
            last=max(first, min(self.max_timestep, self.timesteps)),
            levels=self.multires_noise_iterations,
            discount=self.multires_noise_discount,
            perturbation=self.ip_noise_gamma > 0,
            density=self.density,
        )
        return draw(seed, keys, shape, wanted)

    @property
    def density(self) -> Density:
        """How often each timestep is drawn."""
        return Density(
            self.timestep_sampling,
            self.sigmoid_scale,
            self.logit_mean,
            self.logit_std,
            self.mode_scale,
            self.discrete_flow_shift,
        )

    def noised(self, latents: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """(noisy latents, target), both [B, C, h, w] float32. Offset first, then coarse levels; what perturbs the
        input is not in the target ("Input Perturbation Reduces Exposure Bias", arXiv 2301.11706)."""
        noise = self._noise(latents, draws)
        target = targets.TARGETS[self.prediction](self.alphas_cumprod, latents, noise, draws.timesteps)
        if draws.perturbation is not None and self.ip_noise_gamma:
            random = draws.perturbation_strengths if self.ip_noise_gamma_random_strength else None
            noise = noise + _strength(self.ip_noise_gamma, random) * draws.perturbation
        return targets.add_noise(self.alphas_cumprod, latents, noise, draws.timesteps), target

    def _noise(self, latents: Tensor, draws: Draws) -> Tensor:
        noise = draws.noise
        if self.noise_offset or self.adaptive_noise_scale:
            strength = _strength(self.noise_offset, draws.strengths if self.noise_offset_random_strength else None)
            if self.adaptive_noise_scale:
                strength = targets.adaptive_strength(strength, latents, self.adaptive_noise_scale)
            noise = targets.with_offset(noise, draws.offsets, strength)
        return noise if draws.coarse is None else targets.with_coarse(noise, draws.coarse)

    def losses(self, predicted: Tensor, target: Tensor, timesteps: Tensor, masks: Tensor | None = None) -> Tensor:
        """Loss per sample [B] with all weights by timestep; not yet with the samples' own weights. `masks` [B, H, W]
        in 0..1 say how much each part of a picture counts."""
        errors = losses.by_element(self.loss_type, predicted, target, self.thresholds[timesteps])
        if masks is not None:
            errors = losses.masked(errors, masks)
        return losses.per_sample(errors) * self.weights(timesteps)

    @property
    def thresholds(self) -> Tensor:
        """[T], of huber and smooth_l1."""
        return losses.thresholds(self.huber_schedule, self.alphas_cumprod, self.huber_c, self.huber_scale)

    def weights(self, timesteps: Tensor) -> Tensor:
        """[B]: the product of all weightings that are on."""
        base = self.alphas_cumprod if self.weighed_by is None else self.weighed_by
        snr = schedule.snr(base[timesteps])
        weights = torch.ones_like(snr)
        if self.min_snr_gamma:
            weights = weights * weightings.MIN_SNR[self.prediction](snr, self.min_snr_gamma)
        if self.scale_v_pred_loss_like_noise_pred:
            weights = weights * weightings.noise_like_v(snr)
        if self.v_pred_like_loss:
            weights = weights * weightings.v_like(snr, self.v_pred_like_loss)
        if self.debiased_estimation_loss:
            weights = weights * weightings.DEBIASED[self.prediction](snr)
        return weights


def _strength(most: float, random: Tensor | None) -> Tensor | float:
    """`most`, or a share of it that each sample [B] draws for itself (in sd-scripts one for the whole batch)."""
    return most if random is None else most * random.view(-1, 1, 1, 1)


def objective_of(loan: Loan, wanted: LossSettings) -> Objective:
    """What `auto` means for this loan. Raises SettingsError when the loaded schedule or prediction cannot be what was
    asked for."""
    velocity = {"auto": loan.prediction == "v_prediction", "yes": True, "no": False}[wanted.v_parameterization]
    zero = {"auto": loan.zero_terminal_snr, "yes": True, "no": False}[wanted.zero_terminal_snr]
    alphas_cumprod = loan.alphas_cumprod.float()
    _check(wanted, velocity, zero, alphas_cumprod)
    trained_on = schedule.zero_terminal(alphas_cumprod) if zero else alphas_cumprod
    plain = schedule.scaled_linear(steps=len(alphas_cumprod)).to(alphas_cumprod.device)
    same = {name: getattr(wanted, name) for name in _SAME}
    return Objective(
        trained_on.to(loan.device),
        "v_prediction" if velocity else "epsilon",
        weighed_by=plain.to(loan.device) if zero and wanted.snr_rule == "sd-scripts" else None,
        **same,
    )


_SAME = [name for name in Objective.__dataclass_fields__ if name in LossSettings.__struct_fields__]


def _check(wanted: LossSettings, velocity: bool, zero: bool, alphas_cumprod: Tensor) -> None:
    if not zero and schedule.is_zero_terminal(alphas_cumprod):
        raise SettingsError(
            "The loaded checkpoint's noise schedule ends at zero SNR, so zero_terminal_snr cannot be off.",
            "Set it to auto.",
            "zero_terminal_snr",
        )
    if wanted.scale_v_pred_loss_like_noise_pred and not velocity:
        raise SettingsError(
            "scale_v_pred_loss_like_noise_pred is for v-prediction; this checkpoint predicts noise.",
            "Switch it off.",
            "scale_v_pred_loss_like_noise_pred",
        )
    if wanted.v_pred_like_loss and velocity:
        raise SettingsError(
            "v_pred_like_loss is for checkpoints that predict noise; this one has v-prediction.",
            "Set it to 0.",
            "v_pred_like_loss",
        )
    if wanted.min_timestep > wanted.max_timestep:
        raise SettingsError("The first timestep is above the last.", "Set 0 and 1000 for all.", "min_timestep")
