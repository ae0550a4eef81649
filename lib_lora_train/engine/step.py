"""One optimiser step: from batches to losses, gradients and moved adapter parameters."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..adapters.adapter_set import AdapterSet
from ..data.types import Batch
from ..errors import NotFinite
from ..events import Phase
from ..families.loan import Conditioning, Loan
from ..objectives.objective import Objective
from .optimizers import Built
from .precision import LossScaler

PATIENCE = 3  # non-finite steps in a row that end the run
BREATH_S = 1.0  # a step of several batches lets others through about as often


@dataclass
class Stepper:
    """Everything a step needs. `encode` gives the conditioning of a batch, with gradients where that is trained."""

    loan: Loan
    objective: Objective
    built: Built
    encode: Callable[[Batch], Conditioning]
    dtype: torch.dtype
    seed: int
    max_grad_norm: float = 0.0
    scaler: LossScaler = field(default_factory=LossScaler)
    adapters: AdapterSet | None = None  # whose dropouts are drawn and whose norms are limited
    largest_norm: float = 0.0  # 0: any
    skipped: int = 0  # steps without effect so far
    in_a_row: int = 0
    torn: bool = False  # inside an update: parameters and optimiser do not belong together

    def losses(self, batch: Batch) -> Tensor:
        """Loss of each sample [B], float32, weighted; differentiable. The draws are the samples' own."""
        device = self.loan.device
        draws = self.objective.draw(self.seed, batch.keys, batch.latents.shape[1:]).to(device)
        noisy, target = self.objective.noised(batch.latents.to(device, torch.float32), draws)
        predicted = self.loan.family.predict(
            self.loan, noisy.to(self.dtype), draws.timesteps, self.encode(batch), batch.sizes.to(device)
        )
        masks = None if batch.masks is None else batch.masks.to(device)
        return self.objective.losses(predicted, target, draws.timesteps, masks) * batch.loss_weights.to(device)

    def step(self, group: Sequence[Batch], rate_factor: float) -> Generator[Phase, None, float]:
        """Moves the parameters by the gradient of the mean loss over all samples of `group` and returns that loss, so
        that two batches of two weigh as one of four. Yields between batches when that takes long.

        A step whose loss or gradient is not finite is skipped and counted; in float16 an overflow of the gradient is
        tried again with a smaller scale first. Raises NotFinite after three skipped steps in a row.
        """
        while True:
            loss = yield from self._accumulate(group)
            loss, norm = torch.stack([loss, self._gradient_norm()]).tolist()
            if math.isfinite(loss) and not math.isfinite(norm) and self.scaler.can_back_off:
                self.scaler.back_off()
                continue
            if math.isfinite(loss + norm):
                self._apply(norm, rate_factor)
            else:
                self._skip()
            self.clear()
            return loss

    def _accumulate(self, group: Sequence[Batch]) -> Generator[Phase, None, Tensor]:
        """Gradients (times the loss scale) of the mean over all samples; that mean."""
        samples = sum(len(batch.keys) for batch in group)
        self.clear()
        total, breathed = torch.zeros((), device=self.loan.device), time.monotonic()
        for done, batch in enumerate(group, 1):
            with self._dropping(batch):
                loss = self.losses(batch).sum() / samples
                (loss * self.scaler.scale).backward()
            total += loss.detach()
            if done < len(group) and time.monotonic() - breathed > BREATH_S:
                yield Phase(name="train", text="Batches of this step", done=done, total=len(group))
                breathed = time.monotonic()
        return total

    def _dropping(self, batch: Batch) -> AbstractContextManager[None]:
        """What sits out is each sample's own: drawn alike in any batch, and after a resume."""
        samples = [f"{key.epoch}/{key.image}/{key.repeat}" for key in batch.keys]
        return nullcontext() if self.adapters is None else self.adapters.dropping(self.seed, samples)

    def _gradient_norm(self) -> Tensor:
        """Over all parameters, without the loss scale; not finite when any gradient is not."""
        grads = [p.grad for p in self.parameters if p.grad is not None]
        if not grads:
            return torch.zeros((), device=self.loan.device)
        return torch.stack(torch._foreach_norm(grads)).norm() / self.scaler.scale

    def _apply(self, norm: float, rate_factor: float) -> None:
        """Clipped as torch's clip_grad_norm_ does it, unscaled in the same multiplication."""
        clip = min(1.0, self.max_grad_norm / (norm + 1e-6)) if self.max_grad_norm else 1.0
        grads = [p.grad for p in self.parameters if p.grad is not None]
        if clip != 1.0 or self.scaler.scale != 1.0:
            torch._foreach_mul_(grads, clip / self.scaler.scale)
        self.built.set_rates(rate_factor)
        self.torn = True
        self.built.optimizer.step()
        if self.adapters is not None and self.largest_norm:
            self.adapters.limit_norms(self.largest_norm)
        self.torn = False
        self.scaler.went_well()
        self.in_a_row = 0

    def _skip(self) -> None:
        self.skipped += 1
        self.in_a_row += 1
        if self.in_a_row >= PATIENCE:
            raise NotFinite(
                f"The loss was not a number {PATIENCE} times in a row.",
                "The last snapshot is kept. Lower the learning rate, or set Precision to bf16 or no.",
            )

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [parameter for group in self.built.groups for parameter in group.parameters]

    def clear(self) -> None:
        """No gradient is left, not even memory for one."""
        for parameter in self.parameters:
            parameter.grad = None
