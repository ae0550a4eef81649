"""Deleting with undo: what goes is moved into `<data>/trash/`, comes back from there, and is gone after a month."""

from __future__ import annotations

import logging
import re
import secrets
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from ..errors import ExportError
from ..export.folder import RunFolder, explained, written
from ..hosts.base import Host
from .claim import is_claimed
from .loras import find as find_lora
from .refusals import Conflict, NotFound
from .runs import find as find_run

log = logging.getLogger(__name__)
DAYS = 30
_NOTE = "what.json"
_BESIDE = (".json", ".txt", ".civitai.info", ".png", ".jpg", ".jpeg", ".webp", ".gif")


class Item(msgspec.Struct, frozen=True):
    """One thing in the trash: `moved` are (where it was, its name in the trash). Stays on this machine."""

    id: str
    kind: str  # run or lora
    name: str  # for people
    when: float
    moved: list[tuple[str, str]]


_items = msgspec.json.Decoder(Item)


def throw_run(host: Host, run_id: str) -> Item:
    """Its folder with samples, snapshots and state; LoRAs in the web UI's folder stay. Raises NotFound, Conflict when
    somebody works on it, ExportError."""
    folder = find_run(host.data_dir(), run_id)
    _refuse_busy(folder)
    return _throw(host, "run", run_id, [folder.root])


def throw_lora(host: Host, name: str) -> Item:
    """The file with its card and pictures. Raises NotFound, ExportError."""
    path = find_lora(host.lora_dir(), name)
    files = [path] + [file for file in sorted(path.parent.iterdir()) if _belongs(file, path)]
    host.release(path)
    item = _throw(host, "lora", name, files)
    host.publish(path)
    return item


def restore(host: Host, item_id: str) -> Item:
    """Everything goes back to where it was. Raises NotFound, Conflict when something else is there now, ExportError."""
    folder, item = _found(host.data_dir(), item_id)
    places = [(folder / name, Path(place)) for place, name in item.moved]
    for _, place in places:
        if place.exists():
            raise Conflict(f"{place.name} exists again.", "Rename or delete that one first.")
    for inside, place in places:
        _move(inside, place)
    if item.kind == "lora":
        host.publish(places[0][1])
    _remove(folder)
    return item


def listing(data_dir: Path) -> list[dict[str, Any]]:
    """Newest first; what is older than a month is deleted for good before."""
    items = []
    for folder in sorted(_root(data_dir).glob("*"), reverse=True):
        item = _read(folder)
        if item is None:
            continue
        if time.time() - item.when > DAYS * 86400:
            _remove(folder)
            continue
        left = DAYS - int((time.time() - item.when) // 86400)
        items.append({"id": item.id, "kind": item.kind, "name": item.name, "when": item.when, "days_left": left})
    return items


def _throw(host: Host, kind: str, name: str, paths: Sequence[Path]) -> Item:
    """The note is written first: whatever happens meanwhile, what was moved is found again."""
    listing(host.data_dir())
    item_id = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(4)}"
    folder = _root(host.data_dir()) / item_id
    item = Item(item_id, kind, name, time.time(), [(str(path.absolute()), path.name) for path in paths])
    with explained(folder):
        folder.mkdir(parents=True)
        with written(folder / _NOTE) as beside:
            beside.write_bytes(msgspec.json.encode(item))
    done: list[Path] = []
    try:
        for path in paths:
            _move(path, folder / path.name)
            done.append(path)
    except ExportError:
        for path in done:
            _move(folder / path.name, path)
        _remove(folder)
        raise
    return item


def _move(source: Path, target: Path) -> None:
    """Also to another disk, where half a folder is never left in the place of a whole one."""
    with explained(source, "moved"):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(str(source), str(target))


def _refuse_busy(folder: RunFolder) -> None:
    if is_claimed(folder):
        raise Conflict("This run is on.", "Stop it first.")


def _belongs(file: Path, lora: Path) -> bool:
    """Card, notes and previews, as the web UIs and their extensions name them."""
    rest = file.name.removeprefix(lora.stem)
    return file != lora and file.name.startswith(lora.stem) and rest.removeprefix(".preview") in _BESIDE


def _root(data_dir: Path) -> Path:
    return data_dir / "trash"


def _found(data_dir: Path, item_id: str) -> tuple[Path, Item]:
    folder = _root(data_dir) / item_id
    item = _read(folder) if re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{8}", item_id) else None
    if item is None:
        raise NotFound("That is not in the trash any more.", "Load the list again.")
    return folder, item


def _read(folder: Path) -> Item | None:
    try:
        return _items.decode((folder / _NOTE).read_bytes())
    except (OSError, ValueError):
        return None


def _remove(folder: Path) -> None:
    """Out of the trash for good; what cannot be deleted now is tried again with the next look."""
    try:
        shutil.rmtree(folder)
    except OSError as error:
        log.warning("Train LoRA: %s cannot be emptied: %s", folder, error)
