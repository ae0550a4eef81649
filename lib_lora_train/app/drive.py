"""One job on the worker's thread: from the loan to Finished or Failed, giving way to the host between two events."""

from __future__ import annotations

import logging
import math
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from threading import Event as Flag
from typing import Any

import msgspec

from ..errors import CheckpointSwitched, OutOfMemory, TrainLoraError
from ..events import Changed, Control, Event, Failed, Finished, Paused, Phase, Progress, Resumed, Snapshot, Warned
from ..export.folder import RunFolder, explanation
from ..families.loan import Loan
from ..hosts.base import Host
from ..settings.schema import Settings
from . import runs, speeds
from .journal import Journal
from .publish import Publication, publish

log = logging.getLogger(__name__)
_SELDOM_S = 600.0


@dataclass
class Job:
    """One run in this process. `over` is set when its thread is done with host and files."""

    settings: Settings
    folder: RunFolder
    journal: Journal
    resume: bool = False
    control: Control = field(default_factory=Control)
    over: Flag = field(default_factory=Flag)
    release: Callable[[], None] = lambda: None  # of the claim on its folder

    kind, doing = "train", "trained"

    @property
    def id(self) -> str:
        return self.folder.root.name

    @property
    def name(self) -> str:
        return self.settings.naming.output_name


@dataclass
class Drive:
    """`engine` is `engine.run.run`."""

    job: Job
    host: Host
    engine: Callable[..., Iterator[Event]]
    poll_s: float = 0.5  # how often a switched checkpoint is looked at
    retry_s: float = 10.0  # after which a disk that refused the last file is tried again
    switched: bool = False  # stopped while another checkpoint was loaded: the loan may not be used any more

    def run(self) -> None:
        """Never raises; whatever goes wrong becomes Failed, or a warning when the run was already finished."""
        try:
            self._borrow_and_train()
        except Exception as error:
            if not isinstance(error, TrainLoraError):  # those say all that there is to know
                log.exception("Train LoRA: the run %s ended with an error", self.job.id)
            self._fail(error)
        finally:
            self.job.release()
            self.job.over.set()

    def tell(self, event: Event) -> None:
        """To the run's record, and what is wrong to the program's log as well."""
        self.job.journal.add(event)
        if isinstance(event, (Warned, Failed, Paused)) and event.text:
            log.warning("Train LoRA: %s %s", event.text, getattr(event, "remedy", ""))

    def _borrow_and_train(self) -> None:
        self.tell(Phase(name="borrow", text="Waiting for the web UI's checkpoint"))
        job, began = self.job, time.monotonic()
        job.control.change(_wishes(job.journal.all()))
        with self.host.lend() as loan:
            waited = time.monotonic() - began
            self._note_origin(loan)
            events = self.engine(loan, job.settings, job.control, job.folder, resume=job.resume)
            with closing(events):
                for event in events:
                    self.tell(_since_click(event, waited))
                    self._react(event, loan)
        self._note_speed()

    def _react(self, event: Event, loan: Loan) -> None:
        if isinstance(event, Snapshot):
            self._publish(loan, event)
        if isinstance(event, Paused):
            self._stand_aside(loan, event)
        elif not (isinstance(event, Finished) or self.job.control.stopped or self.switched):
            self._breathe(loan)

    def _note_origin(self, loan: Loan) -> None:
        here = loan.identity
        origin = msgspec.structs.replace(
            runs.read_origin(self.job.folder),
            checkpoint=here.path,
            title=here.title,
            vae=here.vae,
            lora_dir=str(self.host.lora_dir().resolve()),
        )
        runs.write_origin(self.job.folder, origin)

    def _note_speed(self) -> None:
        last = self.job.journal.latest(Progress)
        if isinstance(last, Progress) and last.it_per_s > 0:
            speeds.remember(self.host.data_dir(), self.job.settings, self.host.status(), 1 / last.it_per_s)

    def _publish(self, loan: Loan, snapshot: Snapshot) -> None:
        """The last LoRA has to get there; a snapshot that does not is told, and training goes on."""
        job = self.job
        if not (snapshot.final or job.settings.saving.publish_snapshots):
            return
        sampled = runs.samples(job.journal.all())
        item = Publication(
            source=job.folder.root / snapshot.path,
            settings=job.settings,
            step=snapshot.step,
            final=snapshot.final,
            overwrite=runs.read_origin(job.folder).overwrite,
            family=loan.family.name,
            sample=job.folder.root / sampled[-1]["path"] if sampled else None,
            draw=not self.switched,
            checkpoint=loan.identity.title,
        )
        try:
            self.tell(publish(self.host, item, self.tell))
        except TrainLoraError as error:
            if snapshot.final:
                raise
            self.tell(Warned(text=error.message, remedy=error.remedy))

    def _breathe(self, loan: Loan) -> None:
        try:
            self.host.breathe(loan)
        except CheckpointSwitched as switch:
            self._wait_for_checkpoint(loan, switch)

    def _stand_aside(self, loan: Loan, paused: Paused) -> None:
        """The lock is free while the user keeps the run paused."""
        try:
            with nullcontext() if self.switched else self.host.away(loan):
                if paused.reason == "disk":
                    self._wait_for_disk()
                self._wait()
        except CheckpointSwitched as switch:
            self._wait_for_checkpoint(loan, switch)

    def _wait_for_disk(self) -> None:
        """The user resumes, or it is tried again after a while, ever more seldom."""
        self._wait(self.retry_s)
        self.retry_s = min(2 * self.retry_s, _SELDOM_S)
        self.job.control.resume()

    def _wait(self, patience: float = math.inf) -> None:
        """Until the user resumes or stops, `patience` seconds at most."""
        control, began = self.job.control, time.monotonic()
        while control.paused and time.monotonic() - began < patience:
            control.wait(min(self.poll_s, patience))

    def _wait_for_checkpoint(self, loan: Loan, switch: CheckpointSwitched) -> None:
        """Until the run's checkpoint is loaded again, or the user stops: what is trained can be saved without it."""
        control = self.job.control
        self.tell(Paused(reason="checkpoint", text=str(switch)))
        while not control.stopped:
            if not control.paused and self._is_back(loan) and self._retake(loan):
                self.tell(Resumed())
                return
            control.wait(self.poll_s)
        self.switched = True

    def _is_back(self, loan: Loan) -> bool:
        now = self.host.identity()
        return now is not None and now.key == loan.identity.key

    def _retake(self, loan: Loan) -> bool:
        """Whether the lock is held again with the right checkpoint under it."""
        try:
            with self.host.away(loan):
                return True
        except CheckpointSwitched:  # switched once more while we waited for the lock
            return False

    def _fail(self, error: Exception) -> None:
        if self.job.journal.latest(Finished) is not None:
            self.tell(Warned(text=f"After the end of the run: {_said(error)[0]}", remedy=_said(error)[1]))
            return
        text, remedy = _said(error)
        self.tell(
            Failed(
                text=text,
                remedy=remedy,
                detail="".join(traceback.format_exception(error)),
                lower=error.lower if isinstance(error, OutOfMemory) else {},
                can_resume=runs.has_state(self.job.folder),
            )
        )


def _wishes(past: list[Event]) -> dict[str, Any]:
    """What the user changed while it ran holds when it is continued."""
    changes = [event.saving for event in past if isinstance(event, Changed)]
    return {name: value for change in changes for name, value in change.items()}


def _since_click(event: Event, waited: float) -> Event:
    """The engine's clock starts with the loan, the user's with the click."""
    if not isinstance(event, Finished):
        return event
    first = event.seconds_to_first_step
    return msgspec.structs.replace(
        event, seconds=event.seconds + waited, seconds_to_first_step=first + waited if first else first
    )


def _said(error: Exception) -> tuple[str, str]:
    """(text, remedy) for people."""
    if isinstance(error, TrainLoraError):
        return error.message, error.remedy
    if isinstance(error, OSError) and error.errno:
        return _said(explanation(error))
    return (
        f"{type(error).__name__}: {error}",
        "This is a fault of the program. The details are in the web UI's console; please report them.",
    )
