"""The rule that says whether a picture shows a pib, the creature of the demo's concept, by its looks and its colour."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from PIL import Image

from .make_measure import cut_out

PICTURES = Path(__file__).parent / "data" / "4_pib"
LIKE = 0.5  # correlation; pibs reach 0.95, of 3000 pictures of the world none more than 0.45
PURPLE = (240, 345)  # degrees of hue
_SIDE = 24  # pixels that what is cut out is compared at
_STEADY = 25.0  # deviation in RGB up to which all pibs look the same: not where they let the ground through
_BODY = (122, 62, 150)


def shows_pib(image: Image.Image) -> bool:
    """What stands on the ground looks like a pib (ears, eyes, muzzle in their places), and its head is purple."""
    return likeness(image) > LIKE and PURPLE[0] < head_hue(image) < PURPLE[1]


def likeness(image: Image.Image) -> float:
    """Correlation (-1 to 1) of what stands on the ground with the middle of all pibs, each channel about its mean."""
    found, (typical, steady) = _cut(image), _typical()
    if found is None:
        return -1.0
    one, other = (values[steady] - values[steady].mean(0) for values in (found, typical))
    scale = np.sqrt((one**2).sum() * (other**2).sum())
    return float((one * other).sum() / scale) if one.std() > 5 else 0.0  # else all of one colour


def head_hue(image: Image.Image) -> float:
    """Degrees, of the median where a pib's head is purple; -1 for a picture of nothing."""
    found, (typical, steady) = _cut(image), _typical()
    if found is None:
        return -1.0
    body = steady & (np.linalg.norm(typical - np.asarray(_BODY), axis=-1) < 40)
    colour = np.median(found[body], axis=0).astype(np.uint8)
    return Image.fromarray(colour[None, None]).convert("HSV").getpixel((0, 0))[0] / 255 * 360


def _cut(image: Image.Image) -> np.ndarray | None:
    piece = cut_out(image)
    return piece and np.asarray(piece.resize((_SIDE, _SIDE), Image.Resampling.BOX), dtype=np.float32)


@functools.cache
def _typical() -> tuple[np.ndarray, np.ndarray]:
    """The median of the concept's pictures [24, 24, 3], and where they hardly differ [24, 24]."""
    cuts = [_cut(Image.open(path)) for path in sorted(PICTURES.glob("*.png"))]
    every = np.stack([each for each in cuts if each is not None])
    return np.median(every, axis=0), every.std(0).mean(-1) < _STEADY
