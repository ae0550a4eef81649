"""The rule that says whether a picture shows a pib, the creature of the demo's concept, by colours and places."""

from __future__ import annotations

import numpy as np
from PIL import Image

_SIDE = 64  # pixels that pictures are judged at
_BODY, _EAR, _MUZZLE = (122, 62, 150), (243, 128, 25), (214, 170, 228)
_NEAR = 60.0  # distance in RGB that still counts as a colour
_SAME = 30.0  # as the same colour


def shows_pib(image: Image.Image) -> bool:
    """A purple head with at least two of: orange ears above it, white eyes in its upper half, a lilac muzzle below."""
    return len(parts(image)) >= 3


def parts(image: Image.Image) -> set[str]:
    """Which parts of a pib are in their places; empty without a head. What looks like the ground is no part."""
    values = np.asarray(image.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BOX), dtype=np.float32)
    head = _like(values, _BODY)
    if head.mean() < 0.02:
        return set()
    rows, columns = np.nonzero(head)
    top, bottom = np.percentile(rows, [2, 98]).astype(int)
    left, right = np.percentile(columns, [2, 98]).astype(int)
    middle, margin, tall = (top + bottom) // 2, (right - left) // 6, bottom - top
    other = ~_ground(values)
    inside = slice(left + margin, right - margin)
    areas = {
        "ears": (other & _like(values, _EAR))[max(0, top - tall // 2) : top + tall // 4, left:right],
        "eyes": (other & (values.min(-1) > 195))[top:middle, inside],
        "muzzle": (other & _like(values, _MUZZLE))[middle:bottom, inside],
    }
    return {"head"} | {name for name, area in areas.items() if area.sum() / head.sum() > _LEAST[name]}


_LEAST = {"ears": 0.04, "eyes": 0.05, "muzzle": 0.12}  # shares of the head's area


def _like(values: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.linalg.norm(values - np.asarray(colour, dtype=np.float32), axis=-1) < _NEAR


def _ground(values: np.ndarray) -> np.ndarray:
    """Where a picture has one of the colours along its left and right edges, row by row."""
    edges = values[:, [0, -1]]
    nearby = np.concatenate([np.roll(edges, shift, axis=0) for shift in range(-8, 9, 2)], axis=1)
    return np.linalg.norm(values[:, :, None] - nearby[:, None], axis=-1).min(-1) < _SAME
