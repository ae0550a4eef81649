"""What looks wrong in a data set before it is trained on: one check per function, each naming its pictures."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..settings.schema import DataSettings
from . import masks
from .buckets import fits
from .plan import uses
from .scan import Scan
from .sketch import Sketch, Sketches, alike
from .types import Fit, ImageRecord

_ENLARGED = 1.1  # a little growing does no harm
_UNEVEN = 8  # times as many pictures in the fullest bucket as in one with a single picture
_MANY_REPEATS = 500
_ALIKE = 0.9  # how far two sketches correlate; the guides' strict threshold
_BLURRED = 0.025  # share of the contrast that lies in the finest detail; sharp pictures have 0.1 and more
_SKETCHED = 500  # pictures looked at one by one; larger sets would keep the page waiting
_PIECE = 65536  # bytes compared at both ends of files of equal size


@dataclass(frozen=True)
class Lint:
    """`images` are indices into the scan's records; `kind` is a key of CHECKS."""

    kind: str
    text: str
    images: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class _Set:
    records: list[ImageRecord]
    train: list[int]
    fits: list[Fit]
    trigger: str
    data: DataSettings
    sketches: list[Sketch | None] = field(default_factory=list)  # of the pictures in `train`, or none at all


def lint(scan: Scan, trigger: str, data: DataSettings, sketches: Sketches | None = None) -> list[Lint]:
    """Everything that looks wrong, in the order of CHECKS. Raises SettingsError as `buckets.fits` does. What needs a
    look at the pixels is checked with `sketches`, in sets of up to 500 pictures."""
    train = [i for i, record in enumerate(scan.records) if not record.is_reg]
    seen = sketches.of([scan.records[i] for i in train]) if sketches and len(train) <= _SKETCHED else []
    facts = _Set(scan.records, train, fits(scan.records, data), trigger.strip(), data, seen)
    return [Lint(kind, text, found) for kind, check in CHECKS.items() for text, found in check(facts)]


Found = Iterator[tuple[str, list[int]]]


def _no_captions(facts: _Set) -> Found:
    if not any(facts.records[i].caption for i in facts.train):
        yield "No picture has a caption: the LoRA will act on every prompt.", facts.train


def _lacks_file(facts: _Set) -> Found:
    lacking = [i for i in facts.train if facts.records[i].caption_file is None]
    if lacking and len(lacking) < len(facts.train):
        texts = " or ".join(f"'{text}'" for text in sorted({facts.records[i].caption for i in lacking})[:3])
        have = "has no caption file; its" if len(lacking) == 1 else "have no caption file; their"
        yield f"{len(lacking)} of {len(facts.train)} pictures {have} caption is {texts}.", lacking


def _lacks_trigger(facts: _Set) -> Found:
    word = facts.trigger.lower()
    lacking = [i for i in facts.train if word not in facts.records[i].caption.lower()]
    captioned = any(facts.records[i].caption for i in facts.train)
    if word and captioned and lacking:
        yield f"{len(lacking)} of {len(facts.train)} captions lack the trigger word '{facts.trigger}'.", lacking


def _too_small(facts: _Set) -> Found:
    small = [i for i in facts.train if facts.fits[i].resized[0] > _ENLARGED * facts.records[i].size[0]]
    if small:
        worst = min((facts.records[i] for i in small), key=lambda record: record.size[0] * record.size[1])
        size = "x".join(map(str, worst.size))
        are = _count(len(small), "picture is", "pictures are")
        yield (
            f"{are} smaller than the training size and blurred by enlarging (smallest: '{worst.path.name}', {size}).",
            small,
        )


def _uneven_buckets(facts: _Set) -> Found:
    counts = Counter(facts.fits[i].bucket for i in facts.train)
    alone = [i for i in facts.train if counts[facts.fits[i].bucket] == 1]
    (size, most) = counts.most_common(1)[0] if counts else ((0, 0), 0)
    if alone and most >= _UNEVEN:
        yield f"Sizes are uneven: {size[0]}x{size[1]} has {most} pictures, {len(alone)} sizes have one each.", alone


def _many_repeats(facts: _Set) -> Found:
    folders = defaultdict(list)
    for i, record in enumerate(facts.records):
        if record.repeats >= _MANY_REPEATS:
            folders[record.path.parent].append(i)
    for folder, found in folders.items():
        times = facts.records[found[0]].repeats
        yield f"'{folder.name}' counts each picture {times} times; is the number in its name meant so?", found


def _unused_regularisation(facts: _Set) -> Found:
    unused = [i for i, n in enumerate(uses(facts.records)) if not n]
    if unused:
        total = len(facts.records) - len(facts.train)
        yield (
            f"{len(unused)} of {total} regularisation pictures are not used: there are fewer training samples.",
            unused,
        )


def _lacks_mask(facts: _Set) -> Found:
    lacking = [i for i in facts.train if facts.records[i].mask is None]
    if masks.wanted(facts.data) and lacking:
        yield f"{len(lacking)} of {len(facts.train)} pictures have no mask: all of them counts.", lacking


def _alike(facts: _Set) -> Found:
    copies = [found[1:] for found in _copies(facts)]
    known = {i for found in copies for i in found}
    unlike = [None if i in known else one for i, one in zip(facts.train, facts.sketches, strict=False)]
    groups = [[facts.train[i] for i in group] for group in alike(unlike, _ALIKE)]
    if groups:
        first = ", ".join(f"'{facts.records[i].path.name}'" for i in groups[0][:3])
        extra = sum(len(found) - 1 for found in groups)
        look = _count(extra, "picture looks", "pictures look")
        yield f"{look} nearly like others (such as {first}).", [i for found in groups for i in found]


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _blurred(facts: _Set) -> Found:
    seen = zip(facts.train, facts.sketches, strict=False)
    soft = [i for i, one in seen if one and not one.flat and one.detail < _BLURRED]
    if soft:
        names = ", ".join(f"'{facts.records[i].path.name}'" for i in soft[:3])
        are = _count(len(soft), "picture is", "pictures are")
        yield f"{are} blurred, or enlarged (such as {names}); the LoRA learns that too.", soft


def _duplicates(facts: _Set) -> Found:
    groups = _copies(facts)
    if groups:
        first = ", ".join(f"'{facts.records[i].path.name}'" for i in groups[0][:3])
        extra = sum(len(found) - 1 for found in groups)
        are = _count(extra, "picture is an exact copy", "pictures are exact copies")
        yield f"{are} of others (such as {first}).", [i for found in groups for i in found]


def _copies(facts: _Set) -> list[list[int]]:
    """Groups of pictures whose files are the same, as far as their ends tell."""
    same_size = defaultdict(list)
    for i in facts.train:
        same_size[facts.records[i].bytes].append(i)
    same = defaultdict(list)
    for size, found in same_size.items():
        for i in found if len(found) > 1 else []:
            same[size, _ends(facts.records[i].path, size)].append(i)
    return [found for (_, ends), found in same.items() if ends and len(found) > 1]


def _ends(path: Path, size: int) -> bytes:
    """Digest of a file's two ends, empty when it cannot be read any more."""
    try:
        with open(path, "rb") as file:
            head = file.read(_PIECE)
            file.seek(max(0, size - _PIECE))
            return hashlib.blake2b(head + file.read(_PIECE)).digest()
    except OSError:
        return b""


CHECKS = {
    "no_captions": _no_captions,
    "caption_files": _lacks_file,
    "trigger": _lacks_trigger,
    "small": _too_small,
    "buckets": _uneven_buckets,
    "repeats": _many_repeats,
    "regularisation": _unused_regularisation,
    "masks": _lacks_mask,
    "duplicates": _duplicates,
    "alike": _alike,
    "blurred": _blurred,
}
