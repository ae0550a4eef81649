"""Tensors kept on disk under a key: checked when read, oldest-used removed first. Knows nothing of what they mean."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from pathlib import Path

from safetensors.torch import load, save
from torch import Tensor

_CHECK = 32  # bytes of checksum behind the tensors
GRACE_S = 3600.0  # used within the last hour: some run, perhaps of another process, still needs it


class Store:
    """Entries of one `kind` under `folder`, which kinds share with their limit; in memory when `folder` is None.

    Safe for threads and processes: entries appear whole by a rename. A damaged entry is removed, counted in `damaged`,
    and reads as absent. An entry that cannot be written is kept in memory and the reason in `trouble`.
    """

    def __init__(self, folder: Path | None, kind: str, limit_gb: float):
        self.folder, self.kind, self.limit = folder, kind, int(limit_gb * 1e9)
        self.damaged = 0
        self.trouble = ""
        self._memory: dict[str, dict[str, Tensor]] = {}

    def get(self, key: str) -> dict[str, Tensor] | None:
        """The entry, None when there is none or it is damaged. Counts as a use."""
        if key in self._memory or self.folder is None:
            return self._memory.get(key)
        path = self._path(key)
        try:
            data = path.read_bytes()
            os.utime(path)
        except FileNotFoundError:
            return None
        except OSError:
            self._remove(path)
            return None
        if data[-_CHECK:] != _checksum(key, data[:-_CHECK]):
            self._remove(path)
            return None
        return load(data[:-_CHECK])

    def put(self, key: str, tensors: dict[str, Tensor]) -> None:
        """Write beside and rename. Not synced: a crash leaves at worst an entry whose checksum is wrong."""
        if self.folder is None:
            self._memory[key] = tensors
            return
        path = self._path(key)
        beside = path.with_name(f".{path.stem[:16]}.{os.getpid()}.{threading.get_ident()}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            data = save({name: tensor.contiguous() for name, tensor in tensors.items()})
            beside.write_bytes(data + _checksum(key, data))
            os.replace(beside, path)
        except OSError as error:
            self._memory[key] = tensors
            self.trouble = f"{error.strerror or error}"
            _unlink(beside)

    def trim(self) -> None:
        """Remove the entries of all kinds that were not used for longest until the limit is kept."""
        if self.folder is None:
            return
        found = sorted(_files(self.folder))
        total, old = sum(size for _, size, _ in found), time.time() - GRACE_S
        for used, size, path in found:
            if used > old or (total <= self.limit and path.suffix != ".tmp"):
                continue
            _unlink(path)
            total -= size

    def _path(self, key: str) -> Path:
        return self.folder / self.kind / key[:2] / f"{key}.cache"

    def _remove(self, path: Path) -> None:
        self.damaged += 1
        _unlink(path)


def digest(*parts: object) -> str:
    """A key from the parts' texts, 40 hex digits."""
    return hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=20).hexdigest()


def _checksum(key: str, data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_CHECK, key=key.encode()[:64]).digest()


def _files(folder: Path) -> list[tuple[float, int, Path]]:
    """(last used, bytes, path) of every entry and leftover."""
    found = []
    for path in folder.glob("*/*/*"):
        try:
            facts = path.stat()
        except OSError:  # another process was faster
            continue
        if path.suffix in (".cache", ".tmp"):
            found.append((facts.st_mtime, facts.st_size, path))
    return found


def _unlink(path: Path) -> None:
    """Removed if the system lets us; what stays is overwritten or trimmed later."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return
