"""Small sketches of pictures, to tell which look alike and which are blurred; each file is decoded once."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..errors import DataError
from . import images
from .ahead import THREADS, ahead
from .types import ImageRecord

_SIDE = 16  # a sketch is the picture in 16 x 16 pixels
_LOOKED_AT = 512  # pixels of the longer side at which sharpness counts: about what is trained
_MOST = 20_000  # sketches remembered
_FLAT = 4.0  # grey levels of deviation; plain pictures are alike and blurred without being either


@dataclass(frozen=True)
class Sketch:
    """`small` [768] float32: the picture in very few pixels, without its mean colour, of length 1. `detail`: what is
    lost when the picture is halved and enlarged again, as a share of its contrast. `flat`: too plain for both to mean
    anything."""

    small: np.ndarray
    detail: float
    flat: bool


class Sketches:
    """Sketches by path, size and time of files, kept while this object lives. Safe for threads."""

    def __init__(self) -> None:
        self._known: dict[tuple, Sketch | None] = {}
        self._lock = threading.Lock()

    def of(self, records: Sequence[ImageRecord]) -> list[Sketch | None]:
        """None for a picture that cannot be decoded."""
        return list(ahead(self._one, records, 2 * THREADS, THREADS))

    def _one(self, record: ImageRecord) -> Sketch | None:
        key = (record.path, record.bytes, record.mtime_ns)
        if key not in self._known:
            made = _made(record)
            with self._lock:
                if len(self._known) >= _MOST:
                    self._known.clear()
                self._known[key] = made
            return made
        return self._known[key]


def _made(record: ImageRecord) -> Sketch | None:
    try:
        return sketch(images.decode(record.path.read_bytes()))
    except (OSError, DataError):  # said when the picture is read to be trained on
        return None


def sketch(pixels: np.ndarray) -> Sketch:
    """Of `pixels` [H, W, 3] uint8."""
    picture = Image.fromarray(pixels)
    small = np.asarray(picture.resize((_SIDE, _SIDE), Image.Resampling.BOX), np.float32)
    small = (small - small.mean((0, 1))).reshape(-1)
    grey = picture.convert("L")
    scale = min(1.0, _LOOKED_AT / max(grey.size))
    seen = grey.resize(tuple(max(2, round(side * scale)) for side in grey.size), Image.Resampling.BOX)
    halved = seen.resize(tuple(max(1, side // 2) for side in seen.size), Image.Resampling.BOX)
    again = halved.resize(seen.size, Image.Resampling.BICUBIC)
    contrast = float(np.asarray(seen, np.float32).std())
    lost = float((np.asarray(seen, np.float32) - np.asarray(again, np.float32)).std())
    return Sketch(small / max(float(np.linalg.norm(small)), 1e-6), lost / max(contrast, 1e-6), contrast < _FLAT)


def alike(sketches: Sequence[Sketch | None], share: float) -> list[list[int]]:
    """Groups of indices, in order, whose sketches correlate by at least `share`: 1 is the same picture in any size,
    0.9 one that is cut or lit a little otherwise; different pictures of one subject rarely reach 0.8."""
    usable = [i for i, one in enumerate(sketches) if one and not one.flat]
    if not usable:
        return []
    stacked = np.stack([sketches[i].small for i in usable])
    same = stacked @ stacked.T >= share
    groups: dict[int, list[int]] = {}
    first = list(range(len(usable)))
    for i in range(len(usable)):
        first[i] = first[int(np.argmax(same[i, : i + 1]))]
        groups.setdefault(first[i], []).append(usable[i])
    return [group for group in groups.values() if len(group) > 1]
