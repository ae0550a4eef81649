"""Which size each picture is trained in, how it is resized and cut to get there. Pure; sizes are (width, height)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..errors import SettingsError
from ..settings.schema import DataSettings, size_of
from .types import Fit, ImageRecord

Size = tuple[int, int]
CELL = 8  # pixels per latent cell of every VAE so far; no side is smaller, all are multiples


@dataclass(frozen=True)
class BucketRules:
    """The bucket settings, checked. `low` and `high` are multiples of `step`; `area` is the most a bucket may have."""

    resolution: Size
    low: int
    high: int
    step: int
    enlarge: bool = True
    choose: str = "nearest-ratio"

    @property
    def area(self) -> int:
        return self.resolution[0] * self.resolution[1]


def fits(records: Sequence[ImageRecord], settings: DataSettings) -> list[Fit]:
    """One Fit per record. Raises SettingsError when the resolution is tiny, or as `rules` does."""
    resolution = size_of(settings.resolution)
    if min(resolution) < CELL:
        raise SettingsError(
            f"Resolution {settings.resolution} is too small.", "Use 512, or 1024 for SDXL.", "resolution"
        )
    if not settings.enable_bucket:
        bucket = tuple(side // CELL * CELL for side in resolution)
        return [cover(record.size, bucket) for record in records]
    checked = rules(settings)
    fitter = RULES[checked.choose](checked)
    known = {size: fitter(size) for size in {record.size for record in records}}
    return [known[record.size] for record in records]


def rules(settings: DataSettings) -> BucketRules:
    """`min_bucket_reso` is rounded down and `max_bucket_reso` up to the step.

    Raises SettingsError when minimum, maximum, step and resolution contradict each other.
    """
    step, resolution = settings.bucket_reso_steps, size_of(settings.resolution)
    low = max(settings.min_bucket_reso // step * step, step)
    high = max(-(-settings.max_bucket_reso // step) * step, low)
    size = settings.resolution
    checks = [  # (wrong, field, what, remedy)
        (step % CELL, "bucket_reso_steps", f"Bucket step {step} is not a multiple of {CELL}", "Use 64, or 32."),
        (
            step > min(resolution),
            "bucket_reso_steps",
            f"Bucket step {step} is above the resolution {size}",
            "Lower it.",
        ),
        (
            low > min(resolution),
            "min_bucket_reso",
            f"Smallest bucket {low} is above the resolution {size}",
            "Lower it.",
        ),
        (
            high < max(resolution),
            "max_bucket_reso",
            f"Largest bucket {high} is below the resolution {size}",
            "Raise it.",
        ),
    ]
    for wrong, name, what, remedy in checks:
        if wrong:
            raise SettingsError(f"{what}.", remedy, name)
    return BucketRules(resolution, low, high, step, not settings.bucket_no_upscale, settings.bucket_rule)


def bucket_sizes(rules: BucketRules) -> list[Size]:
    """Sorted: the square, and for every width the tallest height within the area, both ways (golden 02_buckets)."""
    side = max(math.isqrt(rules.area) // rules.step * rules.step, rules.step)
    sizes = {(side, side)}
    for width in range(rules.low, min(rules.high, rules.area // rules.low) + 1, rules.step):
        height = min(rules.high, rules.area // width // rules.step * rules.step)
        if height >= rules.low:
            sizes |= {(width, height), (height, width)}
    return sorted(sizes)


def cover(size: Size, bucket: Size) -> Fit:
    """Scaled until it just covers the bucket, the overhang cut off evenly."""
    scale = max(bucket[0] / size[0], bucket[1] / size[1])
    resized = tuple(max(side, int(old * scale + 0.5)) for side, old in zip(bucket, size, strict=True))
    return centred(resized, bucket)


def centred(resized: Size, bucket: Size) -> Fit:
    """The middle of an already resized picture."""
    return Fit(bucket, resized, ((resized[0] - bucket[0]) // 2, (resized[1] - bucket[1]) // 2))


def _by_ratio(rules: BucketRules) -> Callable[[Size], Fit]:
    """Nearest aspect ratio on a log scale, so portrait and landscape mirror each other; of equals the larger.

    Without enlarging, a picture smaller than its bucket gets its own sides, rounded down to the step; only the
    smallest allowed side can make it grow then.
    """
    landscape = [size for size in bucket_sizes(rules) if size[0] >= size[1]]

    def fit(size: Size) -> Fit:
        if size[0] < size[1]:
            return _turned(fit((size[1], size[0])))
        ratio = math.log(size[0] / size[1])
        bucket = min(landscape, key=lambda b: (abs(math.log(b[0] / b[1]) - ratio), -b[0] * b[1]))
        if not rules.enlarge and (bucket[0] > size[0] or bucket[1] > size[1]):
            height = _within(size[1], rules)
            bucket = (
                max(min(_within(size[0], rules), rules.area // height // rules.step * rules.step), height),
                height,
            )
        return cover(size, bucket)

    return fit


def _within(side: int, rules: BucketRules) -> int:
    return min(max(side // rules.step * rules.step, rules.low), rules.high)


def _turned(fit: Fit) -> Fit:
    return replace(fit, bucket=fit.bucket[::-1], resized=fit.resized[::-1], crop=fit.crop[::-1])


def _like_sd_scripts(rules: BucketRules) -> Callable[[Size], Fit]:
    """sd-scripts' matching, to compare with it: an equal size, else the nearest difference (not quotient) of ratios.

    Golden 02_buckets holds it. Where sd-scripts itself fails (a side of 0) the side becomes one step.
    """
    sizes = bucket_sizes(rules)

    def fit(size: Size) -> Fit:
        ratio = size[0] / size[1]
        bucket = size if size in sizes else min(sizes, key=lambda b: abs(b[0] / b[1] - ratio))
        if ratio > bucket[0] / bucket[1]:
            scale = bucket[1] / size[1]
        else:
            scale = bucket[0] / size[0]
        return centred((int(size[0] * scale + 0.5), int(size[1] * scale + 0.5)), bucket)

    return fit if rules.enlarge else lambda size: _shrunk_like_sd_scripts(size, rules)


def _shrunk_like_sd_scripts(size: Size, rules: BucketRules) -> Fit:
    """Shrunk to the area when above it, along the side whose rounding keeps the ratio better; minimum and maximum
    do not count."""
    resized, ratio, step = size, size[0] / size[1], rules.step
    if size[0] * size[1] > rules.area:
        exact_width = math.sqrt(rules.area * ratio)
        width = int(exact_width + 0.5) // step * step
        height = int(rules.area / exact_width + 0.5) // step * step
        by_width = (width, int(width / ratio + 0.5))
        by_height = (int(height * ratio + 0.5), height)
        resized = min(by_height, by_width, key=lambda r: _ratio_error(r, ratio, step))
    bucket = tuple(max(side // step * step, step) for side in resized)
    if bucket[0] > resized[0] or bucket[1] > resized[1]:
        return cover(size, bucket)
    return centred(resized, bucket)


def _ratio_error(resized: Size, ratio: float, step: int) -> float:
    width, height = (side // step * step for side in resized)
    return abs(width / height - ratio) if width and height else math.inf


RULES: dict[str, Callable[[BucketRules], Callable[[Size], Fit]]] = {
    "nearest-ratio": _by_ratio,
    "sd-scripts": _like_sd_scripts,
}
