"""Everything one run works with, put together from settings and loan; and putting the loan back as it was."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from ..adapters.adapter_set import AdapterSet
from ..adapters.build import build, from_tensors
from ..adapters.load import read
from ..adapters.portions import portions
from ..data.loader import Loader
from ..data.plan import Length, Plan
from ..data.plan import length as plan_length
from ..events import Control
from ..export.dataset import describe
from ..export.folder import RunFolder
from ..export.metadata import RunFacts
from ..families.checkpointing import enable_checkpointing
from ..families.loan import Loan
from ..objectives.objective import Objective, objective_of
from ..objectives.schedule import is_zero_terminal
from ..sampling.draw import SampleRequest
from ..sampling.prompts import requests
from ..settings.schema import Settings, rate_scale
from . import optimizers, precision, schedules
from .keeping import Keeper
from .meter import Meter
from .position import Position
from .prepare import clip_skip, encoder
from .step import Stepper


@dataclass
class Tools:
    """What can be made, and refused, before the pictures are looked at."""

    adapters: AdapterSet
    built: optimizers.Built
    objective: Objective
    precision: str  # no, fp16 or bf16
    requests: list[SampleRequest]

    @property
    def dtype(self) -> torch.dtype:
        return precision.DTYPES[self.precision]


def tools(loan: Loan, settings: Settings, saved: Mapping[str, Tensor] | None = None) -> Tools:
    """Raises SettingsError for what cannot be trained so on this loan. A resumed run has its weights `saved` in its
    state, so the file it once continued from is not needed again."""
    schedules.check(settings.optimizer)
    adapters = _adapters(loan, settings, saved)
    return Tools(
        adapters,
        optimizers.build(settings.optimizer, portions(adapters, settings.network), loan.device, rate_scale(settings)),
        objective_of(loan, settings.loss),
        precision.resolve(settings.training.mixed_precision, loan.device),
        requests(settings, clip_skip(loan, settings)),
    )


def _adapters(loan: Loan, settings: Settings, saved: Mapping[str, Tensor] | None) -> AdapterSet:
    network, weights = settings.network, saved
    if weights is None and network.network_weights:
        weights = read(Path(network.network_weights).expanduser())
    if weights is not None and network.dim_from_weights:
        return from_tensors(loan, weights, network)
    adapters = build(loan, network, settings.training.seed)
    if weights is not None:
        adapters.load_state_dict(weights)
    return adapters


@dataclass
class Pictures:
    """What the steps are fed with."""

    plan: Plan
    loader: Loader


@dataclass
class Bake:
    """One run from its first step to its last."""

    loan: Loan
    settings: Settings
    control: Control
    folder: RunFolder
    plan: Plan
    length: Length
    loader: Loader
    adapters: AdapterSet
    stepper: Stepper
    meter: Meter
    keeper: Keeper
    position: Position

    @property
    def over(self) -> bool:
        return self.control.stopped or self.position.step >= self.length.steps

    @property
    def rate_factor(self) -> float:
        return schedules.factor(self.settings.optimizer, self.position.step, self.length.steps)

    def change_saving(self, values: dict[str, Any]) -> None:
        """Samples and intervals from now on; what the files say of the run stays the recipe it was begun with."""
        saving = msgspec.structs.replace(self.settings.saving, **values)
        self.settings = msgspec.structs.replace(self.settings, saving=saving)
        self.keeper.requests = requests(self.settings, clip_skip(self.loan, self.settings))


def assemble(
    loan: Loan, settings: Settings, control: Control, folder: RunFolder, made: Tools, pictures: Pictures
) -> Bake:
    """A run at its beginning."""
    plan = pictures.plan
    length = plan_length(plan.batches_per_epoch, settings.training)
    return Bake(
        loan=loan,
        settings=settings,
        control=control,
        folder=folder,
        plan=plan,
        length=length,
        loader=pictures.loader,
        adapters=made.adapters,
        stepper=_stepper(loan, settings, made),
        meter=Meter(loan.device),
        keeper=_keeper(loan, settings, folder, made, _facts(loan, settings, made, plan, length)),
        position=Position(plan.batches_per_epoch),
    )


def _stepper(loan: Loan, settings: Settings, made: Tools) -> Stepper:
    return Stepper(
        loan=loan,
        objective=made.objective,
        built=made.built,
        encode=encoder(loan, settings, made.dtype),
        dtype=made.dtype,
        seed=settings.training.seed,
        max_grad_norm=settings.optimizer.max_grad_norm,
        scaler=precision.LossScaler.for_precision(made.precision),
        adapters=made.adapters,
        largest_norm=settings.network.scale_weight_norms,
    )


def _keeper(loan: Loan, settings: Settings, folder: RunFolder, made: Tools, facts: RunFacts) -> Keeper:
    built = made.built
    return Keeper(
        loan=loan,
        settings=settings,
        folder=folder,
        adapters=made.adapters,
        objective=made.objective,
        dtype=made.dtype,
        facts=facts,
        requests=made.requests,
        substitute=built.described if built.kind != settings.optimizer.optimizer_type else "",
        averaged=built.averaged,
    )


def _facts(loan: Loan, settings: Settings, made: Tools, plan: Plan, length: Length) -> RunFacts:
    started = time.time()
    return RunFacts(
        identity=loan.identity,
        family=loan.family.name,
        prediction=made.objective.prediction,
        zero_terminal_snr=is_zero_terminal(made.objective.alphas_cumprod),
        clip_skip=clip_skip(loan, settings),
        mixed_precision=made.precision,
        optimizer_args=made.built.args,
        total_steps=length.steps,
        num_epochs=length.epochs,
        num_batches_per_epoch=plan.batches_per_epoch,
        session_id=int(started * 1000) % 2**32,
        started_at=started,
        data=describe(plan.records, plan.fits, plan.uses, settings.captions.caption_separator),
    )


@contextmanager
def attached(bake: Bake) -> Iterator[None]:
    """Adapters hang on the loan's modules inside the block; afterwards nothing of the run is left on them."""
    try:
        bake.adapters.attach()
        enable_checkpointing(bake.loan, bake.settings.training.gradient_checkpointing)
        yield
    finally:
        if bake.adapters.attached:
            bake.adapters.detach()
        bake.stepper.clear()
        enable_checkpointing(bake.loan, False)


def release(device: torch.device) -> None:
    """Give memory that is held but not used back to the device, for the web UI's pictures."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
