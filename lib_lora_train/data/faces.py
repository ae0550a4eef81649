"""Where a picture's face is: told by its name, or found with OpenCV where that is installed (web UIs bring it)."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import SettingsError

Face = tuple[int, int, int, int]  # centre x, y, width, height in pixels
_TOLD = re.compile(r"_(\d{1,5})_(\d{1,5})_(\d{1,5})_(\d{1,5})$")
_SIDE = 640  # pixels of the longer side that is searched
_LEAST = 24  # pixels of the smallest face in it
_MODEL = "haarcascade_frontalface_default.xml"


def told(path: Path) -> Face | None:
    """Of a name that ends in `_x_y_width_height`, as sd-scripts' face detection writes them."""
    found = _TOLD.search(path.stem)
    if not found:
        return None
    x, y, width, height = map(int, found.groups())
    return (x, y, width, height) if width and height else None


def find(pixels: np.ndarray) -> Face | None:
    """The largest face in `pixels` [H, W, 3] uint8, None without one. Raises SettingsError where OpenCV is missing.

    Viola and Jones' cascade for frontal faces, which comes with OpenCV: quick, for photographs; drawn faces are often
    missed.
    """
    cv2 = _cv2()
    height, width = pixels.shape[:2]
    scale = min(1.0, _SIDE / max(height, width))
    small = Image.fromarray(pixels).convert("L").resize((max(1, round(width * scale)), max(1, round(height * scale))))
    cascade = cv2.CascadeClassifier(str(Path(cv2.data.haarcascades) / _MODEL))
    boxes = cascade.detectMultiScale(np.asarray(small), 1.1, 5, minSize=(_LEAST, _LEAST))
    if not len(boxes):
        return None
    x, y, w, h = max((tuple(map(int, box)) for box in boxes), key=lambda box: (box[2] * box[3], box))
    return tuple(round(number / scale) for number in (x + w / 2, y + h / 2, w, h))


def _cv2():
    try:
        return importlib.import_module("cv2")
    except ImportError as error:
        raise SettingsError(
            "Faces cannot be looked for: OpenCV is not installed.",
            "Install opencv-python-headless, or write their places into the names (picture_x_y_width_height.png), or "
            "empty this option.",
            "face_crop_aug_range",
        ) from error
