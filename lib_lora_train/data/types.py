"""The types that flow through the data room."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..families.loan import Conditioning


@dataclass(frozen=True)
class LeftOut:
    """A file that is not trained on, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class ImageRecord:
    """One picture of the data set. `size` is (width, height) after EXIF rotation."""

    path: Path
    size: tuple[int, int]
    caption: str
    repeats: int = 1
    is_reg: bool = False
    concept: str = ""  # the concept folder's name without repeats
    digest: str = ""  # hex blake2b of the file's content, filled in when needed
    mtime_ns: int = 0
    bytes: int = 0
    caption_file: Path | None = None  # where the caption was read
    mask: Path | None = None  # picture whose brightness weighs the loss; its own path: its transparency does
    mask_digest: str = ""  # as `digest`, of another file's content
    face: tuple[int, int, int, int] | None = None  # centre x, y, width, height in pixels


@dataclass(frozen=True)
class Fit:
    """Where a picture goes: resized to `resized` (w, h), cut at `crop` (left, top), giving `bucket` (w, h) pixels."""

    bucket: tuple[int, int]
    resized: tuple[int, int]
    crop: tuple[int, int]


@dataclass(frozen=True)
class SampleKey:
    """Names one use of a picture in the whole run; every random draw is derived from (seed, this)."""

    epoch: int
    image: int  # index into the plan's records (sorted by path, so stable)
    repeat: int


@dataclass
class Batch:
    """What one forward pass needs. Sizes are (original h, w, crop top, left, target h, w) in pixels, [B, 6]."""

    keys: list[SampleKey]
    latents: Tensor  # [B, C, h, w] float32, scaled by the VAE's factor
    captions: list[str]
    sizes: Tensor
    is_reg: Tensor  # [B] bool
    loss_weights: Tensor  # [B] float32
    masks: Tensor | None = None  # [B, h, w] float32 in 0..1, how much each part counts; None: all of it
    conditioning: Conditioning | None = None  # from the text cache (CPU); None: encode `captions`
