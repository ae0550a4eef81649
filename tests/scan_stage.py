"""What the tests of scanning folders share: pictures on disk, a short way to scan them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from lib_lora_train.data.scan import scan
from lib_lora_train.settings.schema import CaptionSettings, DataSettings


def picture(path: Path, size=(16, 16), **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(len(path.name)).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(noise).save(path, {".jpg": "JPEG"}.get(path.suffix.lower()), **options)
    return path


def look(root, captions=None, trigger="", **data):
    return scan(DataSettings(train_data_dir=str(root), **data), captions or CaptionSettings(), trigger)


def names(found):
    return [record.path.name for record in found.records]


def reasons(found):
    return {item.path.name: item.reason for item in found.left_out}
