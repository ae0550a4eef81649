"""A few steps of a recipe, to see how long one takes and how much memory it needs; nothing is written or kept."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import msgspec
import torch

from ..data.loader import Loader
from ..data.plan import Plan
from ..data.types import Batch, SampleKey
from ..errors import OutOfMemory
from ..events import Control, Event, Measured, Phase
from ..export.folder import RunFolder
from ..families.loan import Loan
from ..settings.load import from_mapping
from ..settings.schema import Settings
from . import prepare
from .bake import Bake, Pictures, assemble, attached, release, tools
from .memory import guarded
from .meter import memory_gb
from .position import grouped

STEPS = 3  # the first has one-off costs, which do not count as time
_GLANCE_S = 0.02
_NOWHERE = RunFolder(Path(), Path())  # no file of a trial has a place: caches are in memory, nothing is saved


def trial(loan: Loan, settings: Settings, control: Control) -> Generator[Event, None, Measured | None]:
    """Runs STEPS steps of the recipe, the largest pictures first; with what it proposes where they do not fit.

    The result's `lower` is empty when the recipe fits, else the settings with which it does. None when stopped. Raises
    as `engine.run.run`, and OutOfMemory when nothing is left to lower.
    """
    lower: dict = {}
    settings = _unwritten(settings)
    while True:
        tried = from_mapping(lower, settings)
        try:
            found = yield from _steps(loan, tried, control)
            return msgspec.structs.replace(found, lower=lower) if found else None
        except OutOfMemory as error:
            if not error.lower:
                raise
            lower = {**lower, **error.lower}
        release(loan.device)
        words = ", ".join(f"{name} = {value}" for name, value in lower.items())
        yield Phase(name="measure", text=f"The memory ran out; trying with {words}")


def _unwritten(settings: Settings) -> Settings:
    return from_mapping({"cache_latents_to_disk": False}, settings)


def _steps(loan: Loan, settings: Settings, control: Control) -> Generator[Event, None, Measured | None]:
    planned = yield from prepare.plan(settings)
    planned = _Sample.of(planned, settings)
    with Peak(loan.device) as peak:
        try:
            bake = yield from _made(loan, settings, control, planned)
            with attached(bake), closing(_batches(bake.loader)) as batches:
                for done, group in enumerate(grouped(batches, settings.training.gradient_accumulation_steps)):
                    yield Phase(name="measure", text="Measuring steps", done=done, total=STEPS)
                    if done == STEPS or control.stopped:
                        break
                    yield from _step(bake, group)
        finally:
            release(loan.device)
    if control.stopped:
        return None
    return Measured(seconds_per_step=bake.meter.seconds_per_step, memory_gb=peak.gb)


def _made(loan: Loan, settings: Settings, control: Control, planned: Plan) -> Generator[Event, None, Bake]:
    made = tools(loan, settings)
    planned, cache = yield from prepare.latents(loan, settings, _NOWHERE, planned)
    texts = yield from prepare.texts(loan, settings, _NOWHERE, planned)
    loader = Loader(_Sample.of(planned, settings), settings, cache, loan, texts)
    return assemble(loan, settings, control, _NOWHERE, made, Pictures(planned, loader))


def _step(bake: Bake, group: list[Batch]) -> Iterator[Event]:
    with guarded(bake.settings, "train"):
        loss = yield from bake.meter.timing(bake.stepper.step(group, bake.rate_factor))
    bake.meter.step_done(loss)


def _batches(loader: Loader) -> Iterator[Batch]:
    for epoch in count():
        yield from loader.batches(epoch)


class _Sample(Plan):
    """The largest batch of a plan and a few others; every epoch begins with the largest."""

    @classmethod
    def of(cls, planned: Plan, settings: Settings) -> _Sample:
        training = settings.training
        first = planned.epoch(0)
        largest = max(first, key=lambda keys: _area(planned, keys))
        chosen = [largest, *first[: 2 * training.gradient_accumulation_steps]]
        images = sorted({key.image for keys in chosen for key in keys})
        records = [replace(planned.records[i], is_reg=False) for i in images]  # alone they would not be used
        return cls(records, [planned.fits[i] for i in images], training.train_batch_size, training.seed)

    def epoch(self, number: int) -> list[list[SampleKey]]:
        return sorted(super().epoch(number), key=lambda keys: _area(self, keys), reverse=True)


def _area(planned: Plan, keys: list[SampleKey]) -> int:
    width, height = planned.fits[keys[0].image].bucket
    return width * height * len(keys)


@dataclass
class Peak:
    """`gb`: the most memory held inside the block above what was held before it; 0 where that is not to be known.

    A card counts itself; the computer's memory is looked at every few milliseconds.
    """

    device: torch.device
    gb: float = 0.0

    def __enter__(self) -> Peak:
        self._watch = _card_peak(self) if self.device.type == "cuda" else _glances(self)
        self._watch.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._watch.__exit__(None, None, None)


@contextmanager
def _card_peak(peak: Peak) -> Iterator[None]:
    torch.cuda.reset_peak_memory_stats(peak.device)
    before = torch.cuda.memory_allocated(peak.device)
    try:
        yield
    finally:
        peak.gb = (torch.cuda.max_memory_allocated(peak.device) - before) / 2**30


@contextmanager
def _glances(peak: Peak) -> Iterator[None]:
    before, over = memory_gb(peak.device), threading.Event()

    def watch() -> None:
        while not over.wait(_GLANCE_S):
            peak.gb = max(peak.gb, memory_gb(peak.device) - before)

    thread = threading.Thread(target=watch, name="train-lora memory", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
