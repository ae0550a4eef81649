"""Measuring a recipe on request: a few real steps on the lent checkpoint, a job of its own kind that can be stopped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from ..engine.trial import trial
from ..events import Control, Event, Measured
from ..families.loan import Loan
from ..hosts.base import Host
from ..settings.load import from_mapping
from ..settings.schema import Settings
from . import fitness, speeds
from .chore import Work
from .jobs import JobRunner

KIND = "measure"


def start(settings: Settings, runner: JobRunner) -> str:
    """Begin measuring; the job's id. Raises Conflict when something is on, and as `fitness.checked`."""
    name = f"Measuring “{settings.naming.output_name}”"
    return runner.begin_chore(KIND, name, lambda host: _work(host, settings), pausable=False)


def _work(host: Host, settings: Settings) -> Work:
    settings = fitness.checked(settings, host, confirm_overwrite=True)  # nothing is written, so no name is taken

    def work(control: Control) -> Iterator[Event]:
        with host.lend() as loan:
            yield from _measured(host, loan, settings, control)

    return work


def _measured(host: Host, loan: Loan, settings: Settings, control: Control) -> Iterator[Event]:
    with closing(trial(loan, settings, control)) as events:
        while True:
            try:
                event = next(events)
            except StopIteration as end:
                found = end.value
                break
            yield event
            host.breathe(loan)
    if found is not None:
        _remember(host, settings, found)
        yield found


def _remember(host: Host, settings: Settings, found: Measured) -> None:
    tried = from_mapping(found.lower, settings)
    speeds.remember(host.data_dir(), tried, host.status(), found.seconds_per_step)
    speeds.remember_memory(host.data_dir(), tried, host.status(), found.memory_gb)
