"""How much a LoRA changes a picture: one number that means the same for every picture."""

from __future__ import annotations

import numpy as np
from PIL import Image

_SIDE = 128  # pixels; fine grain says nothing about what is in the picture
_WORDS = (
    (0.02, "leaves it as it is"),
    (0.06, "changes details"),
    (0.12, "changes it visibly"),
    (1.01, "makes another picture of it"),
)


def change(one: Image.Image, other: Image.Image) -> float:
    """Mean absolute difference of the two pictures, scaled to 128 pixels and 0..1 per channel."""
    a, b = (_small(image) for image in (one, other))
    return float(np.abs(a - b).mean())


def words(value: float) -> str:
    """What `change` means, for people: rough steps, to read the number by."""
    return next(text for bound, text in _WORDS if value < bound)


def _small(image: Image.Image) -> np.ndarray:
    small = image.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32) / 255.0
