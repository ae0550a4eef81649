"""One picture on its way to latents: what they depend on, its pixels, and what can go wrong with its file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from ..errors import DataError
from ..settings.schema import DataSettings
from . import images
from .fingerprint import of_bytes
from .latents import LatentCache, LatentKey
from .types import Fit, ImageRecord


@dataclass(frozen=True)
class Job:
    """One entry of the cache."""

    image: int
    record: ImageRecord
    fit: Fit
    key: LatentKey


def latent_key(record: ImageRecord, fit: Fit, mirrored: bool, data: DataSettings, vae: str) -> LatentKey:
    return LatentKey(record.digest, fit, mirrored, data.background, vae)


def with_digests(record: ImageRecord, cache: LatentCache) -> ImageRecord:
    """The record with its contents known. Raises DataError when a file is gone, or the picture not as it was when the
    folder was read."""
    try:
        facts = record.path.stat()
        if record.bytes and (facts.st_size, facts.st_mtime_ns) != (record.bytes, record.mtime_ns):
            raise changed(record)
        digest = cache.files.of(record.path)
    except OSError as error:
        raise gone(record.path, error) from error
    try:
        return replace(record, digest=digest, mask_digest=cache.files.of(record.mask) if record.mask else "")
    except OSError as error:
        raise gone(record.mask, error) from error


def content(record: ImageRecord, cache: LatentCache) -> bytes:
    """The file's bytes. Raises DataError when it is gone or changed."""
    try:
        data = record.path.read_bytes()
    except OSError as error:
        raise gone(record.path, error) from error
    if of_bytes(data) != record.digest:
        cache.files.forget(record.path)
        raise changed(record)
    return data


def pixels(job: Job, cache: LatentCache, background: str) -> Tensor | DataError:
    """[3, H, W] as the VAE takes it, or why the picture cannot be decoded. Raises DataError when it changed."""
    data = content(job.record, cache)
    try:
        picture = images.fitted(images.decode(data, background), job.fit)
    except DataError as error:
        return error
    return images.mirrored(picture) if job.key.mirrored else picture


def gone(path: Path, error: OSError) -> DataError:
    why = "is no longer there" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
    return DataError(f"'{path}' {why}.", "Put it back, or start again without it.")


def changed(record: ImageRecord) -> DataError:
    return DataError(f"'{record.path}' changed since the folder was read.", "Start again.")
