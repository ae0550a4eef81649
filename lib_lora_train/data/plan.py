"""Which sample comes when: how often each picture counts, batches by bucket, the order of every epoch. Pure, seeded."""

from __future__ import annotations

import hashlib
import math
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import DataError
from ..settings.schema import TrainingSettings
from . import keyed
from .types import Fit, ImageRecord, SampleKey

MOST_SAMPLES = 2_000_000  # per epoch; above it a folder's year was taken for repeats


class Plan:
    """The order of a whole run. `records[i]` goes to `fits[i]` and gives `uses[i]` samples in every epoch.

    Raises DataError when an epoch would have over two million samples.
    """

    def __init__(self, records: Sequence[ImageRecord], fits: Sequence[Fit], batch_size: int, seed: int):
        if len(records) != len(fits):
            raise ValueError(f"{len(records)} records, {len(fits)} fits")
        self.records, self.fits = tuple(records), tuple(fits)
        self.batch_size, self.seed = batch_size, seed
        _check_repeats(records)
        self.uses = tuple(uses(records))
        self._buckets: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
        for image, (fit, count) in enumerate(zip(fits, self.uses, strict=True)):
            self._buckets[fit.bucket] += [(image, repeat) for repeat in range(count)]

    @property
    def samples_per_epoch(self) -> int:
        return sum(self.uses)

    @property
    def batches_per_epoch(self) -> int:
        return sum(math.ceil(len(samples) / self.batch_size) for samples in self._buckets.values())

    @property
    def fingerprint(self) -> str:
        """Equal for plans that train the same samples in the same order, wherever the pictures lie."""
        facts = [
            (r.digest, r.caption, r.repeats, r.is_reg, f, *([r.mask_digest] if r.mask else []))
            for r, f in zip(self.records, self.fits, strict=True)
        ]
        return hashlib.blake2b(repr((self.batch_size, self.seed, facts)).encode(), digest_size=16).hexdigest()

    def epoch(self, number: int) -> list[list[SampleKey]]:
        """The batches of epoch `number` (from 0): one bucket each, the last one of a bucket may be smaller."""
        order = random.Random(keyed.number(self.seed, number, "order"))
        batches = []
        for bucket in sorted(self._buckets):
            samples = list(self._buckets[bucket])
            order.shuffle(samples)
            keys = [SampleKey(number, image, repeat) for image, repeat in samples]
            batches += [keys[i : i + self.batch_size] for i in range(0, len(keys), self.batch_size)]
        order.shuffle(batches)
        return batches


def uses(records: Sequence[ImageRecord]) -> list[int]:
    """Samples per epoch of each record: its repeats, but regularisation pictures together match the training samples.

    As sd-scripts counts (golden 03_folders_and_files): in order with their own repeats until there are enough, later
    ones are not used; when all are too few, one more each in turn.
    """
    counts = [0 if record.is_reg else record.repeats for record in records]
    wanted = sum(counts)
    reg = [i for i, record in enumerate(records) if record.is_reg]
    have, first_round = 0, True
    while reg and have < wanted:
        for i in reg:
            more = records[i].repeats if first_round else 1
            counts[i] += more
            have += more
            if have >= wanted:
                break
        first_round = False
    return counts


def _check_repeats(records: Sequence[ImageRecord]) -> None:
    if sum(record.repeats for record in records) <= MOST_SAMPLES:
        return
    worst = max(records, key=lambda record: record.repeats)
    raise DataError(
        f"Folder '{worst.path.parent.name}' counts each of its pictures {worst.repeats} times.",
        "Rename it: the number in front is the repeats, usually 1 to 20.",
    )


@dataclass(frozen=True)
class Length:
    """How long a run is. `steps` and `steps_per_epoch` are optimiser steps; the last epoch may be cut short."""

    steps: int
    epochs: int
    steps_per_epoch: int


def length(batches_per_epoch: int, training: TrainingSettings) -> Length:
    """Epochs decide when given, else steps. The last, incomplete group of accumulated batches of an epoch counts."""
    per_epoch = math.ceil(batches_per_epoch / training.gradient_accumulation_steps)
    if training.max_train_epochs:
        return Length(training.max_train_epochs * per_epoch, training.max_train_epochs, per_epoch)
    return Length(training.max_train_steps, math.ceil(training.max_train_steps / per_epoch), per_epoch)
