"""From the bytes of a picture file to pixels in training size: decoding, colour modes, rotation, resizing, cutting."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageColor, UnidentifiedImageError
from torch import Tensor

from ..errors import DataError, SettingsError
from .types import Fit

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")  # what decoders may be tried, whatever a file is called
MAX_PIXELS = 150_000_000  # 450 MB as RGB; scanned posters fit, decompression bombs do not
_TURNS = {  # EXIF orientation -> how to set the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
_SEE_THROUGH = ("RGBA", "LA", "PA", "RGBa", "La")
# What Pillow's decoders raise on damaged files of these formats.
BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    OverflowError,
    MemoryError,
    Image.DecompressionBombError,
)


def open_picture(file: Any) -> Image.Image:
    """The header only. Raises DataError whose message says what is wrong with the picture, without its name."""
    try:
        image = Image.open(file, formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise DataError(f"has more than {MAX_PIXELS // 10**6} megapixels") from error
    except UnidentifiedImageError as error:
        raise DataError("is not a png, jpg, webp or bmp picture, whatever its name says") from error
    except BROKEN as error:
        raise DataError(f"cannot be read: {error}") from error
    if image.width * image.height > MAX_PIXELS:
        raise DataError(f"has {image.width * image.height // 10**6} megapixels, more than {MAX_PIXELS // 10**6}")
    if image.format in ("PNG", "WEBP") and getattr(image, "is_animated", False):
        raise DataError("is animated")
    return image


def turn(image: Image.Image) -> Image.Transpose | None:
    """How to set the picture upright, from the EXIF data in front of its pixels."""
    try:  # the base class's method: the PNG reader's own would decode all pixels to look behind them
        return _TURNS.get(Image.Image.getexif(image).get(0x0112))
    except (
        *BROKEN,
        KeyError,
        TypeError,
        AttributeError,
    ):  # EXIF blocks of broken cameras and editors: as if there were none
        return None


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) after rotation."""
    swapped = turn(image) in (_TURNS[5], _TURNS[6], _TURNS[7], _TURNS[8])
    return image.size[::-1] if swapped else image.size


def colour(text: str) -> tuple[int, int, int]:
    """(r, g, b) of `#rrggbb` or a name. Raises SettingsError."""
    try:
        return ImageColor.getrgb(text)[:3]
    except ValueError as error:
        raise SettingsError(
            f"'{text}' is not a colour.", "Use a name such as white, or #rrggbb.", "background"
        ) from error


def decode(data: bytes, background: str = "white") -> np.ndarray:
    """Upright RGB pixels [H, W, 3] uint8; transparency is put on `background`.

    Raises DataError as `open_picture`, also for pixels that cannot be decoded; the message does not name the file.
    """
    image = open_picture(io.BytesIO(data))
    how = turn(image)  # before loading, so that it agrees with `upright_size` about EXIF data behind the pixels
    try:
        image.load()
        rgb = _rgb(image if how is None else image.transpose(how), colour(background))
    except BROKEN as error:
        raise DataError(f"cannot be decoded: {error}") from error
    return np.asarray(rgb)


def transparency(data: bytes) -> np.ndarray:
    """How opaque each pixel is, [H, W] uint8, upright; 255 where nothing says otherwise. Raises as `decode`."""
    image = open_picture(io.BytesIO(data))
    how = turn(image)
    try:
        image.load()
        alpha = image.convert("RGBA").getchannel("A")
        return np.asarray(alpha if how is None else alpha.transpose(how))
    except BROKEN as error:
        raise DataError(f"cannot be decoded: {error}") from error


def has_transparency(image: Image.Image) -> bool:
    """From the header alone."""
    return "transparency" in image.info or image.mode in _SEE_THROUGH


def _rgb(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits per pixel; Pillow's own conversion would clip at 255
        image = Image.fromarray((np.asarray(image).astype(np.int64) // 257).clip(0, 255).astype(np.uint8))
    if has_transparency(image):
        over = image.convert("RGBA")
        under = Image.new("RGBA", over.size, (*background, 255))
        under.alpha_composite(over)
        image = under
    return image.convert("RGB")


def fitted(pixels: np.ndarray, fit: Fit) -> Tensor:
    """`pixels` [H, W, 3] uint8 resized and cut: [3, h, w] float32 in -1..1, h and w the bucket's.

    Only the part that is kept is computed. Area averaging where no side grows, else Lanczos (golden 02_resize).
    """
    old = (pixels.shape[1], pixels.shape[0])
    if old == fit.resized:
        left, top = fit.crop
        cut = pixels[top : top + fit.bucket[1], left : left + fit.bucket[0]]
    else:
        scale = [o / r for o, r in zip(old, fit.resized, strict=True)]
        start = [c * s for c, s in zip(fit.crop, scale, strict=True)]
        stop = [(c + b) * s for c, b, s in zip(fit.crop, fit.bucket, scale, strict=True)]
        shrinks = all(s >= 1 for s in scale)
        cut = (_area if shrinks else _lanczos)(pixels, fit.bucket, (*start, *map(min, stop, old)))
    return torch.from_numpy(np.ascontiguousarray(cut.transpose(2, 0, 1))).float().div_(127.5).sub_(1)


def mirrored(picture: Tensor) -> Tensor:
    """Left and right swapped, [..., H, W]."""
    return picture.flip(-1)


def _lanczos(pixels: np.ndarray, size: tuple[int, int], box: tuple[float, ...]) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS, box))


def _area(pixels: np.ndarray, size: tuple[int, int], box: tuple[float, ...]) -> np.ndarray:
    """Mean over the exact (fractional) area each new pixel covers, one axis after the other."""
    rows = _average(pixels, size[1], box[1], box[3])
    columns = _average(np.ascontiguousarray(rows.transpose(1, 0, 2)), size[0], box[0], box[2])
    return np.rint(columns.transpose(1, 0, 2)).astype(np.uint8)


def _average(lines: np.ndarray, count: int, start: float, stop: float) -> np.ndarray:
    """`count` weighted means of the lines between `start` and `stop`: [n, ...] -> [count, ...] float32."""
    edges = np.linspace(start, stop, count + 1)
    low, high = edges[:-1], edges[1:]
    first = np.floor(low + 1e-9).astype(np.int64)
    total = np.zeros((count, *lines.shape[1:]), np.float32)
    for tap in range(int(np.ceil((high - first).max() - 1e-9))):
        index = first + tap
        weight = (np.minimum(high, index + 1) - np.maximum(low, index)).clip(0) / (high - low)
        shape = (count, *[1] * (lines.ndim - 1))
        total += lines[index.clip(max=len(lines) - 1)] * weight.astype(np.float32).reshape(shape)
    return total
