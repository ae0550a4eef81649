"""Short names for contents: of model tensors (a fast sample of their values) and of picture files (remembered)."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import msgspec
import torch
from torch import Tensor, nn

_VALUES = 256  # looked at per tensor; a tuned or merged weight differs nearly everywhere
_MOST = 50_000  # files remembered
_SETTLED_NS = 2_000_000_000  # a younger file may change again without its time stamp showing it


def of_tensors(named: Iterable[tuple[str, Tensor]]) -> str:
    """Hex digest of names, shapes, types and evenly spread values; milliseconds, one copy per device."""
    facts, samples = hashlib.blake2b(digest_size=16), defaultdict(list)
    for name, tensor in sorted(named, key=lambda item: item[0]):
        facts.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        flat = tensor.detach().flatten()
        samples[tensor.device].append(flat[:: max(1, flat.numel() // _VALUES)].float())
    for parts in samples.values():
        facts.update(torch.cat(parts).cpu().numpy().tobytes())
    return facts.hexdigest()


def of_vae(vae: nn.Module) -> str:
    """Of the encoding half; VAEs that differ only in decoding share their latents."""
    decoding = ("decoder.", "post_quant_conv.")
    return of_tensors((n, t) for n, t in vae.state_dict().items() if not n.startswith(decoding))


def of_text_encoders(encoders: Iterable[nn.Module]) -> str:
    return of_tensors((f"{i}.{n}", t) for i, e in enumerate(encoders) for n, t in e.state_dict().items())


def of_bytes(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=20).hexdigest()


class FileDigests:
    """Content digests of files, remembered by path, size and time in a JSON file (None: in memory only)."""

    def __init__(self, file: Path | None):
        self.file = file
        self._known = _read(file) if file else {}
        self._lock = threading.Lock()

    def of(self, path: Path) -> str:
        """The file is read only if it is new or changed. Raises OSError."""
        facts, name = os.stat(path), os.path.abspath(path)
        stamp = (facts.st_size, facts.st_mtime_ns)
        known = self._known.get(name)
        if known and known[:2] == stamp:
            return known[2]
        found = of_bytes(path.read_bytes())
        if time.time_ns() - facts.st_mtime_ns > _SETTLED_NS:
            with self._lock:
                self._known[name] = (*stamp, found)
        return found

    def forget(self, path: Path) -> None:
        with self._lock:
            self._known.pop(os.path.abspath(path), None)

    def save(self) -> None:
        """Beside and renamed; the oldest entries go when there are very many. Raises OSError."""
        if not self.file:
            return
        kept = dict(list(self._known.items())[-_MOST:])
        self.file.parent.mkdir(parents=True, exist_ok=True)
        beside = self.file.with_name(f".{self.file.name}.{os.getpid()}.{threading.get_ident()}.tmp")
        beside.write_bytes(msgspec.json.encode(kept))
        os.replace(beside, self.file)


def _read(file: Path) -> dict[str, tuple[int, int, str]]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, tuple[int, int, str]])
    except (OSError, ValueError, RecursionError):  # absent or damaged: pictures are read again
        return {}
