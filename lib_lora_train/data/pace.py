"""How often a loop over many small things reports, so that whoever waits for the lock never waits long."""

from __future__ import annotations

import time


class Pace:
    """`due()` is true the first time it is asked, then `every` seconds after it last was."""

    def __init__(self, every: float = 0.25):
        self._every, self._next = every, 0.0

    def due(self) -> bool:
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self._every
        return True
