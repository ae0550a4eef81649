"""Reading a checkpoint in LDM layout without copying it: tensors as views of the memory-mapped file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ..errors import HostError

_LONGEST_HEADER = 100_000_000  # the format's own limit


def mapped(path: Path) -> dict[str, Tensor]:
    """Every tensor of a `.safetensors` file by key. Raises HostError, naming the file, when it cannot be read."""
    from safetensors import SafetensorError, safe_open

    if path.suffix != ".safetensors":
        raise HostError(f"{path.name} is not a .safetensors file.", "Convert it; other formats can carry programs.")
    if not path.is_file():
        raise HostError(f"There is no checkpoint {path}.", "Check the path.")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        raise HostError(f"{path.name} cannot be read ({error}).", "Download it again.") from error


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Of a `.safetensors` file's tensors by key, from its header alone; empty where there is no such header."""
    if path.suffix != ".safetensors":
        return {}
    try:
        with open(path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size)) if size <= _LONGEST_HEADER else {}
        return {key: tuple(value["shape"]) for key, value in header.items() if key != "__metadata__"}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):  # damaged: whoever loads it will say so
        return {}


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose keys begin with `prefix`, by what follows it."""
    return {key[len(prefix) :]: tensor for key, tensor in tensors.items() if key.startswith(prefix)}


def legacy_hash(path: Path) -> str:
    """The eight digits that hosts of 2022 knew a checkpoint by: SHA-256 of 64 KiB at 1 MiB."""
    with open(path, "rb") as file:
        file.seek(0x100000)
        return hashlib.sha256(file.read(0x10000)).hexdigest()[:8]
