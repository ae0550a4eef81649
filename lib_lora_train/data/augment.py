"""Pictures made anew at each use: where they are cut, how their colours vary. Pure; every draw from a keyed source."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import torch
from torch import Tensor

from ..settings.options_data import DataSettings, face_range
from .types import Fit, ImageRecord

HUE = 8.0  # degrees each way: skin stays skin
SATURATION = 0.1
GAMMA = 0.05
# Colour as brightness and two chroma axes (NTSC's YIQ): hue is an angle in it, saturation a length.
_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_RGB = torch.linalg.inv(_YIQ.double()).float()


def recut(record: ImageRecord, fit: Fit, data: DataSettings, rng: random.Random) -> Fit:
    """The part of the picture for one use; `fit` is where it goes without augmentation, its bucket stays."""
    span = face_range(data)
    if span and record.face:
        return _around(record, fit, span, data.random_crop, rng)
    if not data.random_crop and not data.crop_aug:
        return fit
    enlarged = 1.0 / (1.0 - data.crop_aug * rng.random()) if data.crop_aug else 1.0
    resized = _at_least(fit.bucket, (side * enlarged for side in fit.resized))
    spare = [r - b for r, b in zip(resized, fit.bucket, strict=True)]
    return replace(fit, resized=resized, crop=(rng.randint(0, spare[0]), rng.randint(0, spare[1])))


def _around(record: ImageRecord, fit: Fit, span: tuple[float, float], anywhere: bool, rng: random.Random) -> Fit:
    """Scaled so that the bucket's short side is `span` faces long, never beyond the picture's own pixels unless it is
    enlarged to cover the bucket anyway; cut around the face, a little beside it, or `anywhere` rather near it.

    Method: sd-scripts' face crop, which works there only without buckets.
    """
    x, y, width, height = record.face
    face, short = max(width, height, 1), min(fit.bucket)
    cover = max(b / s for b, s in zip(fit.bucket, record.size, strict=True))
    low = max(cover, min(1.0, short / (face * span[1])))
    high = max(low, min(1.0, short / (face * span[0])))
    scale = rng.uniform(low, high)
    resized = _at_least(fit.bucket, (side * scale for side in record.size))
    corner = []
    for centre, length, side in zip((x * scale, y * scale), resized, fit.bucket, strict=True):
        if anywhere:
            reach = max(length - centre, centre)
            beside = rng.uniform(0, reach) + rng.uniform(0, reach) - reach
        else:
            beside = rng.uniform(-face * scale, face * scale) / 20
        corner.append(min(max(round(centre + beside) - side // 2, 0), length - side))
    return replace(fit, resized=resized, crop=(corner[0], corner[1]))


def _at_least(bucket: tuple[int, int], sides) -> tuple[int, int]:
    width, height = (max(b, math.floor(side + 0.5)) for b, side in zip(bucket, sides, strict=True))
    return width, height


def coloured(picture: Tensor, rng: random.Random) -> Tensor:
    """`picture` [3, H, W] in -1..1 with other hue, saturation and brightness (gamma), each a little."""
    angle, length = math.radians(rng.uniform(-HUE, HUE)), 1 + rng.uniform(-SATURATION, SATURATION)
    gamma = 1 + rng.uniform(-GAMMA, GAMMA)
    cos, sin = length * math.cos(angle), length * math.sin(angle)
    turned = _RGB @ torch.tensor([[1.0, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ _YIQ
    red, green, blue = (picture + 1) / 2
    mixed = torch.stack([row[0] * red + row[1] * green + row[2] * blue for row in turned])
    return mixed.clamp_(0, 1).pow_(gamma).mul_(2).sub_(1)
