"""A lock that serves in order of arrival and can say whether somebody waits."""

from __future__ import annotations

import threading
from collections import deque
from types import TracebackType


class FifoLock:
    """Not re-entrant; a thread that already holds it gets a RuntimeError instead of waiting for ever."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._queue: deque[threading.Event] = deque()
        self._owner: int | None = None

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @property
    def mine(self) -> bool:
        return self._owner == threading.get_ident()

    @property
    def locked(self) -> bool:
        return self._owner is not None

    def acquire(self) -> None:
        if self.mine:
            raise RuntimeError("This thread already holds the lock.")
        with self._guard:
            if self._owner is None and not self._queue:
                self._owner = threading.get_ident()
                return
            turn = threading.Event()
            self._queue.append(turn)
        turn.wait()
        self._owner = threading.get_ident()

    def release(self) -> None:
        if not self.mine:
            raise RuntimeError("This thread does not hold the lock.")
        with self._guard:
            self._owner = None
            if self._queue:
                self._owner = 0  # taken, by whoever wakes up now
                self._queue.popleft().set()

    def __enter__(self) -> FifoLock:
        self.acquire()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()
