"""The LoRA file: writing safetensors with kohya's hashes, and reading a file's header without touching its tensors."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import safetensors.torch
from torch import Tensor

from ..errors import ExportError
from .folder import explained, written

LARGEST_HEADER = 100_000_000  # bytes; what the safetensors library itself accepts
_LEGACY_FROM, _LEGACY_BYTES = 0x100000, 0x10000


@dataclass(frozen=True)
class TensorInfo:
    """One tensor as the header tells it; `start` and `end` are bytes after the header."""

    dtype: str  # F32, F16, BF16, ...
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class Header:
    metadata: dict[str, str]
    tensors: dict[str, TensorInfo]
    size: int  # bytes before the tensors, the length field included


def save(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, str]:
    """Writes `tensors` (file keys to tensors of any device) and returns the metadata with the two hashes.

    Written beside and renamed in. Raises ExportError naming the file (disk full, read-only, ...); the old file stays.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = _cleaned(metadata)
    # kohya's hashes are those of a file with only the training metadata, so that editing the rest changes no hash
    blob = safetensors.torch.save(plain, {k: v for k, v in metadata.items() if k.startswith("ss_")})
    head = 8 + int.from_bytes(blob[:8], "little")
    data = memoryview(blob)[head:]
    complete = metadata | {
        "sshs_model_hash": hashlib.sha256(data).hexdigest(),
        "sshs_legacy_hash": _legacy_hash(blob),
    }
    entries = json.loads(blob[8:head])
    with explained(path), written(path) as beside, open(beside, "wb") as file:
        file.write(_header_bytes(entries, complete))
        file.write(data)
    return complete


def copy(source: Path, target: Path, changes: Mapping[str, str] | None = None) -> None:
    """Copies a LoRA file, with `changes` in its metadata; tensors stay byte for byte, so the hashes stay right.

    Raises ExportError: `source` is no whole safetensors file, or `target` cannot be written.
    """
    header = read_header(source)
    with explained(target), written(target) as beside, open(source, "rb") as old, open(beside, "wb") as new:
        if changes:
            new.write(_header_bytes(_raw_entries(old, source), header.metadata | _cleaned(changes)))
            old.seek(header.size)
        shutil.copyfileobj(old, new, 1 << 20)


def read_header(path: Path) -> Header:
    """Metadata and tensor table; reads the header only, never runs, renames or changes the file.

    Raises ExportError: the file is missing, no safetensors file, cut off, or its header is damaged.
    """
    with explained(path, "read"), open(path, "rb") as file:
        entries = _raw_entries(file, path)
        size = file.tell()
        length = path.stat().st_size - size
    try:
        metadata = _texts(entries.pop("__metadata__", None))
        tensors = {name: _tensor_info(entry) for name, entry in entries.items()}
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _damaged(path, "its header is damaged") from error
    if any(info.end > length for info in tensors.values()):
        raise _damaged(path, "it is cut off")
    return Header(metadata, tensors, size)


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a file, {} when it has none. Raises ExportError as `read_header`."""
    return read_header(path).metadata


def read_keys(path: Path) -> list[str]:
    """The tensors' names in file order. Raises ExportError as `read_header`."""
    return list(read_header(path).tensors)


def model_hash(path: Path) -> str:
    """SHA-256 of everything after the header: `sshs_model_hash`, computed from the file. Raises ExportError."""
    header, digest = read_header(path), hashlib.sha256()
    with explained(path, "read"), open(path, "rb") as file:
        file.seek(header.size)
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _legacy_hash(blob: bytes) -> str:
    return hashlib.sha256(blob[_LEGACY_FROM : _LEGACY_FROM + _LEGACY_BYTES]).hexdigest()[:8]


def _cleaned(metadata: Mapping[str, str]) -> dict[str, str]:
    """Without lone surrogates (undecodable file names have them), which no safetensors reader accepts."""
    return {k.encode(errors="replace").decode(): v.encode(errors="replace").decode() for k, v in metadata.items()}


def _header_bytes(entries: Mapping[str, Any], metadata: Mapping[str, str]) -> bytes:
    """Length field and header; metadata sorted, so that equal content gives equal bytes."""
    tensors = {name: entry for name, entry in entries.items() if name != "__metadata__"}
    table = {"__metadata__": dict(sorted(metadata.items())), **tensors}
    text = json.dumps(table, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _raw_entries(file: BinaryIO, path: Path) -> dict[str, Any]:
    """The header as JSON; leaves `file` at the first tensor's byte."""
    length = int.from_bytes(file.read(8), "little")
    remaining = path.stat().st_size - 8
    if remaining < 2 or length < 2 or length > LARGEST_HEADER:
        raise _damaged(path, "it is no safetensors file")
    if length > remaining:
        raise _damaged(path, "it is cut off or no safetensors file")
    try:
        entries = json.loads(file.read(length).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _damaged(path, "it is no safetensors file") from error
    if not isinstance(entries, dict):
        raise _damaged(path, "it is no safetensors file")
    return entries


def _tensor_info(entry: Mapping[str, Any]) -> TensorInfo:
    start, end = (int(n) for n in entry["data_offsets"])
    shape = tuple(int(n) for n in entry["shape"])
    if not 0 <= start <= end or any(n < 0 for n in shape):
        raise ValueError("impossible offsets or shape")
    return TensorInfo(str(entry["dtype"]), shape, start, end)


def _texts(metadata: Any) -> dict[str, str]:
    """Values are strings by the format; other people's files hold other things, which become JSON text."""
    if not isinstance(metadata, dict):
        return {}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in metadata.items()}


def _damaged(path: Path, why: str) -> ExportError:
    return ExportError(f"{path.name} cannot be read: {why}.", "Choose another file, or download or save it again.")
