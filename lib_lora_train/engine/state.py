"""A run's state on disk: one safetensors file per save, with the plain values as JSON in its header; never pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ..errors import DataError
from ..export.folder import explained, written
from ..export.replacing import discard

FORMAT = "train-lora-state-1"
KEPT = 2  # files: the newest, and the one before in case the newest is damaged
_MARK = "__tensor__"


@dataclass
class State:
    """`tensors` by name (any device; on the CPU once loaded) and `values`, plain JSON data."""

    tensors: dict[str, Tensor]
    values: dict[str, Any]
    notes: list[str] = field(default_factory=list)  # what the user should know about how it was found


def save(folder: Path, step: int, state: State) -> Path:
    """Writes the state and then drops all but the newest two. What is there stays when writing fails.

    Raises ExportError as the file system refuses (disk full, read-only).
    """
    path = folder / f"state-{step:08d}.safetensors"
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.tensors.items()}
    text = json.dumps(state.values, sort_keys=True)
    header = {"format": FORMAT, "values": text, "digest": _digest(plain, text)}
    blob = safetensors.torch.save(plain, header)
    with explained(path), written(path) as beside:
        beside.write_bytes(blob)
    for old in _files(folder)[KEPT:]:
        discard(old)
    return path


def load(folder: Path) -> State:
    """The newest state that is whole. Raises DataError when there is none."""
    notes: list[str] = []
    for path in _files(folder):
        try:
            state = _read(path)
        except (OSError, ValueError, KeyError, safetensors.SafetensorError) as error:
            notes.append(f"The saved state {path.name} is damaged ({error}); the one before is used.")
            continue
        state.notes.extend(notes)
        return state
    why = "is damaged" if notes else "is missing"
    raise DataError(f"The run's saved state {why}: {folder}.", "Start the run anew with the same recipe.")


def exists(folder: Path) -> bool:
    """Whether there is anything to resume from."""
    return bool(_files(folder))


def clear(folder: Path) -> None:
    """After the end of a run nothing is left to resume; a file that somebody holds (Windows) may stay."""
    for path in _files(folder):
        discard(path)


def _files(folder: Path) -> list[Path]:
    """Newest first."""
    return sorted(folder.glob("state-*.safetensors"), reverse=True)


def _read(path: Path) -> State:
    with safetensors.safe_open(path, "pt") as file:
        header = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    if header.get("format") != FORMAT:
        raise ValueError("another format")
    if _digest(tensors, header["values"]) != header["digest"]:
        raise ValueError("wrong checksum")
    return State(tensors, json.loads(header["values"]))


def _digest(tensors: Mapping[str, Tensor], text: str) -> str:
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(memoryview(tensors[name].reshape(-1).view(torch.uint8).numpy()))
    return digest.hexdigest()


def flatten(tree: Any, prefix: str) -> State:
    """Any nest of dicts, lists, tensors and plain values (an optimiser's state_dict) as tensors and JSON data."""
    tensors: dict[str, Tensor] = {}

    def walk(value: Any, name: str) -> Any:
        if isinstance(value, Tensor):
            tensors[name] = value
            return {_MARK: name}
        if isinstance(value, Mapping):
            return {str(key): walk(inner, f"{name}.{key}") for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [walk(inner, f"{name}.{i}") for i, inner in enumerate(value)]
        return value

    return State(tensors, {prefix: walk(tree, prefix)})


def unflatten(state: State, prefix: str) -> Any:
    """What `flatten` was given; tuples come back as lists, and digits as keys become numbers."""

    def build(value: Any) -> Any:
        if isinstance(value, Mapping):
            if _MARK in value:
                return state.tensors[value[_MARK]]
            return {_number(key): build(inner) for key, inner in value.items()}
        return [build(inner) for inner in value] if isinstance(value, list) else value

    return build(state.values[prefix])


def _number(key: str) -> int | str:
    return int(key) if key.isdigit() else key


def merged(states: Iterable[State]) -> State:
    """One state of several with different names."""
    whole = State({}, {})
    for state in states:
        whole.tensors.update(state.tensors)
        whole.values.update(state.values)
        whole.notes.extend(state.notes)
    return whole
