"""The training run: a generator of events, from the lent checkpoint to the finished LoRA file."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field

from ..data.loader import Loader
from ..data.types import Batch
from ..errors import ExportError
from ..events import Changed, Control, Event, Finished, Paused, Phase, Progress, Resumed, Snapshot, Warned
from ..export.folder import RunFolder
from ..export.names import check_name
from ..families.loan import Loan
from ..settings.schema import Settings
from . import prepare, state
from .bake import Bake, Pictures, assemble, attached, release, tools
from .memory import guarded
from .position import grouped
from .resume import capture, fixed, refuse_recipe, restore, weights_in

log = logging.getLogger(__name__)
_WAITING = "The LoRA is trained and waits in memory: Resume tries to save it again, Stop gives it up."


@dataclass
class Clock:
    """Seconds of a run, with those before it was interrupted."""

    began: float = field(default_factory=time.monotonic)
    before: float = 0.0
    first_step: float = 0.0

    @property
    def seconds(self) -> float:
        return self.before + time.monotonic() - self.began


def run(loan: Loan, settings: Settings, control: Control, folder: RunFolder, resume: bool = False) -> Iterator[Event]:
    """Trains a LoRA on `loan` and leaves it, with samples and state, in `folder`.

    Between two events the caller may hand the loan's lock to others: the modules stay, their tensors may move. After
    `Paused` it asks for the next event when `control.paused` has ended. Closing the generator keeps the state.
    Raises SettingsError, DataError, HostError (resumed with something else), OutOfMemory, NotFinite, ExportError (the
    last file cannot be written). Whatever happens, the loan's modules are left as they were.
    """
    clock = Clock()
    try:
        bake = yield from _heeding(_prepared(loan, settings, control, folder, resume, clock), loan, control)
        if bake is not None:
            with attached(bake):
                yield from _train(bake, clock)
        yield from _finish(bake, clock)
    finally:
        release(loan.device)


def _prepared(
    loan: Loan, settings: Settings, control: Control, folder: RunFolder, resume: bool, clock: Clock
) -> Generator[Event, None, Bake]:
    """What can be refused is refused before anything that takes long."""
    check_name(settings.naming.output_name)
    planned = yield from prepare.plan(settings)
    found = state.load(folder.state) if resume else None
    if found is not None:  # before its weights meet a network of other shapes
        refuse_recipe(found.values["recipe"], fixed(settings))
    made = tools(loan, settings, found and weights_in(found))
    for note in [*loan.notes, *made.built.notes]:
        yield Warned(text=note)
    planned, cache = yield from prepare.latents(loan, settings, folder, planned)
    texts = yield from prepare.texts(loan, settings, folder, planned)
    loader = Loader(planned, settings, cache, loan, texts)
    bake = assemble(loan, settings, control, folder, made, Pictures(planned, loader))
    if found is not None:
        for note in found.notes:
            yield Warned(text=note)
        restore(bake, found)
        clock.before = found.values["seconds"]
    return bake


def _train(bake: Bake, clock: Clock) -> Iterator[Event]:
    yield Phase(name="train", done=bake.position.step, total=bake.length.steps)
    try:
        if bake.settings.saving.sample_at_first and bake.position.step == 0:
            yield from bake.keeper.samples(bake.position, bake.control)
        while not bake.over:
            yield from _epoch(bake, clock)
    except BaseException:  # also when the caller closes the generator
        _rescue(bake, clock)
        raise


def _epoch(bake: Bake, clock: Clock) -> Iterator[Event]:
    """The rest of the epoch that the run stands in."""
    at, epoch = bake.position, bake.position.epoch
    with closing(bake.loader.batches(epoch, at.batch)) as batches:
        groups = grouped(batches, bake.settings.training.gradient_accumulation_steps)
        while at.epoch == epoch and not bake.over:
            loss = yield from _step(bake, groups)
            clock.first_step = clock.first_step or clock.seconds - clock.before
            yield _progress(bake, epoch, loss)
            yield from _after_step(bake, clock)
            while bake.loader.warnings:
                yield Warned(text=bake.loader.warnings.pop(0))


def _step(bake: Bake, groups: Iterator[list[Batch]]) -> Generator[Event, None, float]:
    with guarded(bake.settings, "train"):
        with bake.meter.timed():
            group = next(groups)
        loss = yield from bake.meter.timing(bake.stepper.step(group, bake.rate_factor))
    bake.position.advance(len(group))
    bake.meter.step_done(loss)
    return loss


def _progress(bake: Bake, epoch: int, loss: float) -> Progress:
    smooth, left = bake.meter.loss.mean, bake.length.steps - bake.position.step
    return Progress(
        step=bake.position.step,
        total_steps=bake.length.steps,
        epoch=epoch + 1,
        epochs=bake.length.epochs,
        loss=loss if math.isfinite(loss) else smooth,  # JSON has no NaN; `skipped` tells
        loss_smooth=smooth,
        lr=bake.stepper.built.rates,
        skipped=bake.stepper.skipped,
        **bake.meter.speed(left),
    )


def _after_step(bake: Bake, clock: Clock) -> Iterator[Event]:
    """Samples, files and state that are due or asked for, then the user's pause."""
    yield from _changed(bake)
    at, saving, control = bake.position, bake.settings.saving, bake.control
    sample = control.take_sample() or at.due(saving.sample_every_n_steps, saving.sample_every_n_epochs)
    save = control.take_save() or at.due(saving.save_every_n_steps, saving.save_every_n_epochs)
    if sample:
        yield from bake.keeper.samples(at, control)
    if save and not bake.over:
        yield from _snapshot(bake)
    if (save or at.due(saving.save_state_every_n_steps, 0)) and not bake.over:
        yield from _save_state(bake, clock)
    if control.paused:
        yield from _save_state(bake, clock)
        yield from _pause(bake.loan, control)


def _changed(bake: Bake) -> Iterator[Event]:
    """Samples and intervals as the user wants them from now on."""
    wanted = bake.control.take_change()
    if wanted:
        bake.change_saving(wanted)
        yield Changed(saving=wanted)


def _snapshot(bake: Bake) -> Iterator[Event]:
    yield Phase(name="save", text="Saving a snapshot")
    try:
        yield bake.keeper.snapshot(bake.position)
    except ExportError as error:
        yield Warned(text=f"The snapshot is not saved: {error.message}", remedy=error.remedy)


def _save_state(bake: Bake, clock: Clock) -> Iterator[Event]:
    try:
        state.save(bake.folder.state, bake.position.step, capture(bake, clock.seconds))
    except ExportError as error:
        yield Warned(text=f"The state is not saved: {error.message}", remedy=error.remedy)


def _rescue(bake: Bake, clock: Clock) -> None:
    """The state as it is after the last whole step, so that the run can go on later."""
    if bake.stepper.torn or bake.position.step == 0:
        return
    try:
        state.save(bake.folder.state, bake.position.step, capture(bake, clock.seconds))
    except ExportError as error:
        log.warning("Train LoRA: the state of the run is not saved: %s", error)


def _pause(loan: Loan, control: Control, why: Paused | None = None) -> Iterator[Event]:
    release(loan.device)
    yield why or Paused(reason="user")
    while control.paused:
        control.wait(1.0)
    yield Resumed()


def _heeding(events: Generator[Event, None, Bake], loan: Loan, control: Control) -> Generator[Event, None, Bake | None]:
    """Passes the events of the preparation on, pausing between them; its result, None when stopped before."""
    with closing(events):
        while not control.stopped:
            try:
                yield next(events)
            except StopIteration as end:
                return end.value
            if control.paused:
                yield from _pause(loan, control)
    return None


def _finish(bake: Bake | None, clock: Clock) -> Iterator[Event]:
    """The last file; without a step there is nothing to write."""
    if bake is None or bake.position.step == 0:
        yield Finished(step=0, path="", reason="stopped", seconds=clock.seconds)
        return
    yield Phase(name="save", text="Saving the LoRA")
    last = yield from _saved(bake)
    yield from _save_state(bake, clock)  # in case that the caller cannot do with the file what it wants to
    yield last
    done = bake.position.step >= bake.length.steps
    yield Finished(
        step=bake.position.step,
        path=last.path,
        reason="done" if done else "stopped",
        seconds=clock.seconds,
        seconds_to_first_step=clock.first_step,
    )
    if done:  # last, so that a run that is killed here is either finished or can go on
        state.clear(bake.folder.state)


def _saved(bake: Bake) -> Generator[Event, None, Snapshot]:
    """The last file. While the disk refuses it (full, read-only), all that was trained is kept in memory and the run
    waits: resuming tries again, stopping gives up and raises the ExportError."""
    control, waited = bake.control, False
    while True:
        try:
            return bake.keeper.snapshot(bake.position, final=True)
        except ExportError as error:
            if waited and control.stopped:
                raise
            control.take_stop()  # that of the training; the next one gives up
            control.pause()
            yield from _pause(bake.loan, control, Paused(reason="disk", text=f"{error} {_WAITING}"))
            waited = True
