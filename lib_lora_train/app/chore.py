"""A job that is no training (drawing pictures): a thread of its own, the same events and wishes, never beside a run."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from threading import Event as Flag

from ..errors import TrainLoraError
from ..events import Control, Done, Event, Failed, Paused, Phase, Resumed
from ..export.folder import explanation
from ..families.loan import Identity
from ..hosts.base import Host
from .journal import Journal

log = logging.getLogger(__name__)
Work = Callable[[Control], Iterator[Event]]
_POLL_S = 0.5


@dataclass
class Chore:
    """`work` yields its events, between which a wish to pause is served; it ends when it sees the wish to stop. Its
    last Phase says what the page shows; `over` is set when the thread is done."""

    id: str
    kind: str
    name: str  # as the page shows it: what is being made
    work: Work
    journal: Journal = field(default_factory=Journal)
    control: Control = field(default_factory=Control)
    over: Flag = field(default_factory=Flag)
    pausable: bool = True  # False for what holds the checkpoint and is over in seconds
    poll_s: float = 0.5
    doing = "made"

    def run(self) -> None:
        """Never raises; whatever goes wrong becomes Failed."""
        began = time.monotonic()
        try:
            self._tell(Phase(name="draw", text=self.name))
            for event in self.work(self.control):
                self._tell(event)
                self._serve_pause()
            reason = "stopped" if self.control.stopped else "done"
            self._tell(Done(text=self._said(), reason=reason, seconds=time.monotonic() - began))
        except (TrainLoraError, OSError) as error:
            known = error if isinstance(error, TrainLoraError) else explanation(error)
            self._tell(Failed(text=known.message, remedy=known.remedy))
        except Exception as error:
            log.exception("Train LoRA: %s ended with an error", self.id)
            remedy = "This is a fault of the program. The details are in the console; please report them."
            detail = "".join(traceback.format_exception(error))
            self._tell(Failed(text=f"{type(error).__name__}: {error}", remedy=remedy, detail=detail))
        finally:
            self.over.set()

    def _tell(self, event: Event) -> None:
        self.journal.add(event)
        if isinstance(event, Failed):
            log.warning("Train LoRA: %s %s", event.text, event.remedy)

    def _said(self) -> str:
        last = self.journal.latest(Phase)
        return f"{self.name}: {last.done} of {last.total} are there." if last and last.total else f"{self.name}: done."

    def _serve_pause(self) -> None:
        if not (self.pausable and self.control.paused):
            return
        self._tell(Paused(reason="user", text="Paused between two pictures."))
        while self.control.paused:
            self.control.wait(self.poll_s)
        self._tell(Resumed())


def while_loaded(host: Host, began: Identity | None, control: Control) -> Iterator[Event]:
    """Waits while another checkpoint is loaded than the one begun with."""
    if _same(host, began):
        return
    yield Paused(reason="checkpoint", text=f"Waits until {began.title} is loaded again.")
    while not (control.stopped or _same(host, began)):
        control.wait(_POLL_S)
    yield Resumed()


def _same(host: Host, began: Identity | None) -> bool:
    now = host.identity()
    return began is None or (now is not None and now.key == began.key)
