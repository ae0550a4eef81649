"""A web UI's queue lock as one of our threads holds it: handed over fairly, freed if the thread dies."""

from __future__ import annotations

import threading
import time
from typing import Any

HAND_OVER_S = 0.5  # how long a woken waiter gets to take the lock
_GLANCE_S = 0.001


class LockHold:
    """One hold on `lock` (`acquire`, `release`; not re-entrant), owned by the thread that made this object.

    A context manager: taken on entering, free after leaving, whatever happened between. In between it can be given and
    taken again. If the owner dies without leaving (a suspended generator that nobody closes), the lock is freed.
    """

    def __init__(self, lock: Any, watch_every_s: float = 1.0):
        self._lock = lock
        self._watch_every_s = watch_every_s
        self._guard = threading.Lock()
        self._over = threading.Event()
        self.owner = threading.current_thread()
        self.held = False

    def __enter__(self) -> LockHold:
        self.take()
        threading.Thread(target=self._watch, name="train-lora lock watch", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.give()
        self._over.set()

    @property
    def ours(self) -> bool:
        """Does the calling thread hold the lock through this?"""
        return self.held and self.owner is threading.current_thread()

    @property
    def waited_for(self) -> bool:
        """Does anybody wait for the lock? True as well when the lock cannot tell."""
        return waiters(self._lock) != 0

    def take(self) -> None:
        """Behind everybody who waits already. Nothing happens when it is held."""
        if not self.held:
            self._lock.acquire()
            self.held = True

    def give(self) -> None:
        """Free the lock; when somebody waits, return only after they had the time to take it.

        (A lock that wakes its first waiter on release can be taken back by the releasing thread before the woken one
        gets there, who then stands outside the queue.) Nothing happens when it is not held.
        """
        with self._guard:  # the owner and the watch may both come here
            if not self.held:
                return
            expected = waiters(self._lock)
            self.held = False
            self._lock.release()
        if expected != 0:
            _until_taken(self._lock)

    def _watch(self) -> None:
        while not self._over.wait(self._watch_every_s):
            if not self.owner.is_alive():
                self._over.set()
                self.give()


def waiters(lock: Any) -> int | None:
    """How many threads wait for `lock`; None when it keeps no list."""
    pending = getattr(lock, "_pending_threads", None)
    return None if pending is None else len(pending)


def is_locked(lock: Any) -> bool | None:
    """None when the lock cannot tell."""
    locked = getattr(getattr(lock, "_lock", lock), "locked", None)
    return None if locked is None else locked()


def _until_taken(lock: Any) -> None:
    deadline = time.monotonic() + HAND_OVER_S
    if is_locked(lock) is None or waiters(lock) is None:
        deadline = time.monotonic() + 10 * _GLANCE_S  # nobody may be waiting; long enough to wake up
    while not is_locked(lock) and time.monotonic() < deadline:
        time.sleep(_GLANCE_S)
