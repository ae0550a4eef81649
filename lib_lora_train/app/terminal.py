"""A run in a terminal: a progress bar from its events, Ctrl-C as a wish to stop."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..events import (
    Done,
    Event,
    Failed,
    Finished,
    Paused,
    Phase,
    Progress,
    Published,
    Resumed,
    Sampled,
    Snapshot,
    Warned,
)
from . import runs
from .chore import Chore
from .drive import Job

_GLANCE_S = 0.1


@dataclass(frozen=True)
class Outcome:
    """`state`: done, stopped or failed. `report` is plain data for `--json`."""

    state: str
    report: dict[str, Any]


def follow(job: Job | Chore, lora_dir: Path) -> Outcome:
    """Show a run until it is over. The first Ctrl-C stops and keeps, the second ends the program at once."""
    seen, past, over = job.journal.before, [], False
    with tqdm(unit="step", file=sys.stderr, dynamic_ncols=True) as bar, _ctrl_c(job), _faults_only():
        while not over:
            over = job.over.wait(_GLANCE_S)  # before reading, so that nothing is missed at the end
            past = job.journal.all()
            for event in past[seen:]:
                _SHOW[type(event)](bar, event)
            seen = len(past)
    return Outcome(runs.state_of(past), _report(past, lora_dir))


@contextmanager
def _ctrl_c(job: Job | Chore) -> Iterator[None]:
    """Signals reach only the main thread; elsewhere (tests) Ctrl-C stays as it is."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupted(_number: int, _frame: Any) -> None:
        if job.control.stopped:
            os._exit(130)  # not sys.exit: the worker may be deep in a computation; files are never half written
        job.control.stop()
        os.write(2, b"\nStopping after this step, keeping what is trained. Ctrl-C again to abort.\n")

    before = signal.signal(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _faults_only() -> Iterator[None]:
    """What the events say stands beside the bar already; of the log only faults of the program are shown too."""
    logger, handler = logging.getLogger("lib_lora_train"), logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.ERROR)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _report(past: list[Event], lora_dir: Path) -> dict[str, Any]:
    last: dict[type[Event], Any] = {type(event): event for event in past}
    published, finished, failed = last.get(Published), last.get(Finished), last.get(Failed)
    lora = lora_dir / published.path if published else None
    card = lora.with_suffix(".json") if lora else None
    progress = last.get(Progress)
    return {
        "lora": str(lora or ""),
        "thumbnail": str(lora.with_name(published.thumbnail)) if lora and published.thumbnail else "",
        "card": str(card) if card and card.exists() else "",
        "state": runs.state_of(past),
        "steps": finished.step if finished else progress.step if progress else 0,
        "seconds": finished.seconds if finished else 0.0,
        "seconds_to_first_step": finished.seconds_to_first_step if finished else 0.0,
        "error": failed.text if failed and runs.state_of(past) == "failed" else "",
    }


def _phase(bar: tqdm, event: Phase) -> None:
    bar.set_description(event.name + (f" {event.done}/{event.total}" if event.total else ""))
    if event.name == "draw" and event.total:
        bar.total = event.total
        bar.update(event.done - bar.n)


def _progress(bar: tqdm, event: Progress) -> None:
    bar.total = event.total_steps
    bar.set_description("train", refresh=False)
    bar.set_postfix({"loss": f"{event.loss_smooth:.4f}", "epoch": f"{event.epoch}/{event.epochs}"}, refresh=False)
    bar.update(event.step - bar.n)


def _line(text: Callable[[Any], str]) -> Callable[[tqdm, Any], None]:
    return lambda bar, event: bar.write(text(event).strip(), file=sys.stderr)


_SHOW: dict[type[Event], Callable[[tqdm, Any], None]] = {
    Phase: _phase,
    Progress: _progress,
    Sampled: _line(lambda e: f"sample {e.path}"),
    Snapshot: _line(lambda e: f"saved {e.path}"),
    Published: _line(lambda e: f"published {e.path}"),
    Warned: _line(lambda e: f"warning: {e.text} {e.remedy}"),
    Paused: _line(lambda e: f"paused: {e.text}"),
    Resumed: _line(lambda e: "resumed"),
    Finished: _line(lambda e: f"finished at step {e.step} after {e.seconds:.0f} s"),
    Done: _line(lambda e: e.text),
    Failed: _line(lambda e: f"failed: {e.text} {e.remedy}"),
}
