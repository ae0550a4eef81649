"""Masks: how much each part of a picture counts in the loss, from its transparency or from a picture beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import DataError
from ..settings.schema import DataSettings
from . import images, layout
from .buckets import CELL
from .fingerprint import of_bytes
from .store import Store, digest
from .types import Fit, ImageRecord

_VERSION = "masks 1"  # raised when masks are read or resized differently


def wanted(data: DataSettings) -> bool:
    return data.alpha_mask or data.masked_loss


class MaskFolder:
    """The mask pictures in `conditioning_data_dir`, looked up by concept folder and name."""

    def __init__(self, data: DataSettings):
        """Raises DataError (conditioning_data_dir) when masks are wanted and there is no such folder."""
        self._found: dict[tuple[str, str], Path] = {}
        if not data.masked_loss or (data.alpha_mask and not data.conditioning_data_dir.strip()):
            return
        try:
            root = layout.existing(data.conditioning_data_dir, "folder of masks")
            inside, files = layout.entries(root)
            self._add("", files)
            for folder in inside:
                self._add(folder.name, layout.entries(folder)[1])
        except DataError as error:
            raise DataError(error.message, error.remedy, "conditioning_data_dir") from error

    def _add(self, folder: str, files: Sequence[Path]) -> None:
        for path in filter(layout.is_picture, files):
            self._found.setdefault((folder.lower(), path.stem.lower()), path)

    def of(self, picture: Path) -> Path | None:
        """From the folder named as the picture's own, else from the top."""
        name = picture.stem.lower()
        return self._found.get((picture.parent.name.lower(), name)) or self._found.get(("", name))


class MaskCache:
    """Masks in latent size under `folder` (None: in memory), by content and fit."""

    def __init__(self, folder: Path | None, limit_gb: float):
        self.store = Store(folder, "masks", limit_gb)

    def of(self, record: ImageRecord, fit: Fit, mirrored: bool, keep: bool = True) -> Tensor:
        """[h, w] float32 in 0..1; ones for a picture without a mask. Raises DataError when its file cannot be used."""
        height, width = fit.bucket[1] // CELL, fit.bucket[0] // CELL
        if record.mask is None:
            return torch.ones(height, width)
        key = digest(_VERSION, record.mask_digest, record.mask == record.path, fit)
        entry = self.store.get(key) if keep else None
        mask = entry["mask"] if entry else _shrunk(_read(record), fit)
        if keep and not entry:
            self.store.put(key, {"mask": mask})
        return mask.flip(-1) if mirrored else mask


def _read(record: ImageRecord) -> np.ndarray:
    """[H, W] uint8. A mask's first colour counts, as in sd-scripts."""
    try:
        data = record.mask.read_bytes()
    except OSError as error:
        raise DataError(
            f"'{record.mask}' cannot be read ({error.strerror}).", "Put it back and start again."
        ) from error
    if of_bytes(data) != record.mask_digest:
        raise DataError(f"'{record.mask}' changed since the folder was read.", "Start again.")
    try:
        return images.transparency(data) if record.mask == record.path else images.decode(data, "black")[..., 0]
    except DataError as error:
        raise DataError(f"The mask '{record.mask}' {error.message}.", "Replace it.") from error


def _shrunk(mask: np.ndarray, fit: Fit) -> Tensor:
    """Stretched over the picture, then resized and cut with it, then averaged over each latent cell."""
    pixels = images.fitted(np.repeat(mask[..., None], 3, axis=2), fit)[:1].add(1).div(2)
    size = (fit.bucket[1] // CELL, fit.bucket[0] // CELL)
    return F.interpolate(pixels[None], size, mode="area")[0, 0].clone()
