"""A run's events: kept in memory, appended to events.jsonl, read again; a full disk or a torn line stops nothing."""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from ..events import Event, Warned, decode, encode

log = logging.getLogger(__name__)


def read(path: Path) -> tuple[list[Event], list[str]]:
    """(events, notes) of an events.jsonl. Lines that are no events (cut off when the program was killed, written by a
    newer version) are left out and noted; a missing file has no events."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return [], []
    except OSError as error:
        return [], [f"{path.name} cannot be read: {error.strerror or error}."]
    events, damaged = [], 0
    for line in filter(None, lines):
        try:
            events.append(decode(line))
        except (ValueError, RecursionError):
            damaged += 1
    notes = [f"{damaged} line{'s' * (damaged > 1)} of {path.name} cannot be read and are left out."] if damaged else []
    return events, notes


def as_dicts(events: Iterable[Event]) -> list[dict[str, Any]]:
    """As JSON has them: `{event: "Progress", ...}`."""
    return [msgspec.to_builtins(event) for event in events]


class Journal:
    """Thread-safe. What could not be written is kept and tried again with the next event. Without `path` it is only
    kept in memory."""

    def __init__(self, path: Path | None = None, resume: bool = False):
        self._path = path
        self._lock = threading.Lock()
        self._events: list[Event] = read(path)[0] if resume else []
        self.before = len(self._events)  # how many were there when this process took the run up
        self._latest: dict[type[Event], int] = {}  # index into _events
        self._unwritten: list[bytes] = []
        self._torn = resume  # the file may end within a line
        self._warned = False

    def add(self, event: Event) -> Event:
        """Record `event` with the time filled in. Never raises for a disk that refuses."""
        event = msgspec.structs.replace(event, t=time.time())
        with self._lock:
            self._keep(event)
            if self._path is not None:
                self._unwritten.append(encode(event) + b"\n")
                self._write()
        return event

    def all(self) -> list[Event]:
        with self._lock:
            return list(self._events)

    def latest(self, *kinds: type[Event]) -> Event | None:
        """The newest event of these kinds since this process took the run up."""
        with self._lock:
            index = max((self._latest.get(kind, -1) for kind in kinds), default=-1)
            return self._events[index] if index >= 0 else None

    def _keep(self, event: Event) -> None:
        self._latest[type(event)] = len(self._events)
        self._events.append(event)

    def _write(self) -> None:
        try:
            with open(self._path, "ab", buffering=0) as file:
                while self._unwritten:
                    line = (b"\n" if self._torn else b"") + self._unwritten[0]
                    self._torn = True  # until all of it has arrived; else the next try starts a line of its own
                    if file.write(line) != len(line):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    self._torn = False
                    del self._unwritten[0]
        except OSError as error:
            self._warn(error)

    def _warn(self, error: OSError) -> None:
        if self._warned:
            return
        self._warned = True
        log.warning("Train LoRA: %s cannot be written: %s", self._path, error)
        warning = Warned(
            t=time.time(),
            text=f"The run's record {self._path.name} cannot be written: {error.strerror or error}.",
            remedy="Training goes on. Free some space on that disk.",
        )
        self._keep(warning)
        self._unwritten.append(encode(warning) + b"\n")
