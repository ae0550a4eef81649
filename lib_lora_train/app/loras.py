"""The LoRAs in the host's folder: finding one by its card's name, and the recipe in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..export.lora_file import read_metadata
from ..hosts.base import Host
from ..settings.from_metadata import recipe_of
from .refusals import NotFound


def find(lora_dir: Path, name: str) -> Path:
    """By the file's name without suffix, in any sub-folder (links are followed, as the web UIs do; of several files of
    one name they know the last). Raises NotFound.
    """
    found = [path for path in _files(lora_dir) if path.stem == name]
    if found:
        return found[-1]
    raise NotFound(f"There is no LoRA {name[:80]!r} as .safetensors in the LoRA folder.", "Refresh the cards.")


def twin(host: Host, path: Path) -> Path | None:
    """Another LoRA of that file's name, in another folder; None when there is none. What runs keep is no other one."""
    there, runs = path.exists(), host.data_dir()
    alike = (file for file in _files(host.lora_dir()) if file.stem == path.stem and runs not in file.parents)
    return next((file for file in alike if file != path and not (there and file.samefile(path))), None)


def _files(folder: Path) -> Iterator[Path]:
    seen: set[str] = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        seen.add(os.path.realpath(root))
        folders[:] = sorted(f for f in folders if os.path.realpath(os.path.join(root, f)) not in seen)
        yield from (Path(root) / name for name in sorted(names) if name.lower().endswith(".safetensors"))


def recipe_of_card(lora_dir: Path, name: str) -> dict[str, Any]:
    """`{settings, source, not_carried, translated, file}`: what the file tells of its making, as the recipe has it.

    Raises NotFound, ExportError for a damaged file.
    """
    path = find(lora_dir, name)
    found = recipe_of(read_metadata(path))
    return {
        "settings": found.settings,
        "source": found.source,
        "not_carried": found.not_carried,
        "translated": found.translated,
        "file": path.relative_to(lora_dir).as_posix(),
    }
