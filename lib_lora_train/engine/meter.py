"""What a run measures about itself: smoothed loss, speed without pauses, memory."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

Part, Result = TypeVar("Part"), TypeVar("Result")

LOSS_MEMORY = 0.98  # share that the loss of the steps before keeps; about the last fifty count
SPEED_MEMORY = 0.9


@dataclass
class Smooth:
    """Exponential mean, unbiased from the first value on."""

    memory: float
    value: float = 0.0
    weight: float = 0.0

    def add(self, value: float) -> float:
        self.value = self.memory * self.value + (1 - self.memory) * value
        self.weight = self.memory * self.weight + (1 - self.memory)
        return self.mean

    @property
    def mean(self) -> float:
        return self.value / self.weight if self.weight else 0.0


@dataclass
class Meter:
    """`clock` gives seconds. Only what lies inside `timed` counts as speed, so pauses, samples and saving do not."""

    device: torch.device
    clock: Callable[[], float] = time.monotonic
    loss: Smooth = field(default_factory=lambda: Smooth(LOSS_MEMORY))
    _seconds: Smooth = field(default_factory=lambda: Smooth(SPEED_MEMORY))
    _spent: float = 0.0
    _warm: bool = False

    @contextmanager
    def timed(self) -> Iterator[None]:
        """A part of a step; parts add up until `step_done`."""
        start = self.clock()
        try:
            yield
        finally:
            self._spent += self.clock() - start

    def timing(self, parts: Generator[Part, None, Result]) -> Generator[Part, None, Result]:
        """Passes `parts` on; only what happens inside them counts."""
        while True:
            with self.timed():
                try:
                    part = next(parts)
                except StopIteration as end:
                    return end.value
            yield part

    def step_done(self, loss: float) -> None:
        """A skipped step's loss does not count. The first step of a process has one-off costs in it, so its seconds
        only count until there is a second one."""
        if not self._warm and self._seconds.weight:
            self._seconds, self._warm = Smooth(SPEED_MEMORY), True
        self._seconds.add(self._spent)
        self._spent = 0.0
        if math.isfinite(loss):
            self.loss.add(loss)

    @property
    def seconds_per_step(self) -> float:
        return self._seconds.mean

    def speed(self, steps_left: int) -> dict[str, float]:
        """it_per_s, eta_s and memory_gb of a Progress event."""
        seconds = self.seconds_per_step
        return {
            "it_per_s": 1.0 / seconds if seconds else 0.0,
            "eta_s": steps_left * seconds,
            "memory_gb": memory_gb(self.device),
        }

    def state(self) -> dict[str, Any]:
        return {"value": self.loss.value, "weight": self.loss.weight}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.loss.value, self.loss.weight = state["value"], state["weight"]


def memory_gb(device: torch.device) -> float:
    """What this process holds of the device's memory, of the machine's for a CPU; 0 where that is not to be known."""
    if device.type == "cuda":
        return torch.cuda.memory_reserved(device) / 2**30
    statm = Path("/proc/self/statm")
    if device.type != "cpu" or not statm.exists():
        return 0.0
    import resource

    return int(statm.read_text(encoding="utf-8").split()[1]) * resource.getpagesize() / 2**30
