"""Where a run stands, and what is due there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


@dataclass
class Position:
    """`step` optimiser steps are done; `batch` batches of epoch `epoch` (from 0) are used up."""

    batches_per_epoch: int
    step: int = 0
    epoch: int = 0
    batch: int = 0

    def advance(self, batches: int) -> None:
        """One step that used so many batches; an epoch's end is the next one's beginning."""
        self.step += 1
        self.batch += batches
        if self.batch >= self.batches_per_epoch:
            self.epoch, self.batch = self.epoch + 1, 0

    def due(self, every_steps: int, every_epochs: int) -> bool:
        """Whether something done every so many steps or epochs (0: never) is due after this step."""
        by_step = every_steps > 0 and self.step % every_steps == 0
        return by_step or (self.epoch_ended and every_epochs > 0 and self.epoch % every_epochs == 0)

    @property
    def epoch_ended(self) -> bool:
        return self.batch == 0 and self.epoch > 0


def grouped(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size`; what is left over makes a shorter last one, a step of its own."""
    iterator = iter(items)
    while group := list(islice(iterator, size)):
        yield group
