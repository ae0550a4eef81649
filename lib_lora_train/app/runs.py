"""Run folders: making a new one, finding one by id, telling what became of each. Nothing of a run is deleted here."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from ..engine import state
from ..errors import ExportError, SettingsError
from ..events import Done, Event, Failed, Finished, Progress, Published, Sampled, Snapshot, Warned
from ..export.folder import RunFolder, explained, written
from ..settings import recipe
from ..settings.load import to_mapping
from ..settings.schema import Settings
from . import journal
from .claim import is_claimed
from .refusals import NotFound

_NEWEST = 100  # a page lists no more


class Origin(msgspec.Struct, frozen=True):
    """Where a run was made, so that it can go on there; stays on this machine (`origin.json`)."""

    checkpoint: str = ""  # path
    title: str = ""
    vae: str = ""
    lora_dir: str = ""
    overwrite: bool = False  # the user agreed that a LoRA of this name is replaced


_origins = msgspec.json.Decoder(Origin)  # made here: see settings.load


def create(data_dir: Path, settings: Settings, overwrite: bool = False) -> RunFolder:
    """A new folder `<date>-<name>` with the recipe in it. Raises ExportError as the file system refuses."""
    root = data_dir / "runs"
    with explained(root):
        root.mkdir(parents=True, exist_ok=True)
        folder = RunFolder(_claimed(root, _folder_name(settings.naming.output_name)), data_dir / "cache")
    try:
        folder.make()
        with explained(folder.recipe), written(folder.recipe) as beside:
            beside.write_text(recipe.dumps(settings), encoding="utf-8")
        write_origin(folder, Origin(overwrite=overwrite))
    except ExportError:
        shutil.rmtree(folder.root, ignore_errors=True)  # nothing is in it yet
        raise
    return folder


def _folder_name(name: str) -> str:
    plain = re.sub(r"[^\w.-]+", "_", name)[:60].strip("._") or "lora"
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{plain}"


def _claimed(root: Path, name: str) -> Path:
    """The first of name, name-2, name-3, ... that nobody has."""
    for number in range(1, 10000):
        path = root / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return path
    raise FileExistsError(f"{root / name} and all its successors exist")


def find(data_dir: Path, run_id: str) -> RunFolder:
    """Raises NotFound unless `run_id` is the plain name of a run's folder."""
    path = data_dir / "runs" / run_id
    if run_id != path.name or run_id in ("", ".", "..") or "\\" in run_id or not (path / "recipe.toml").is_file():
        raise NotFound(f"There is no run {run_id[:80]!r}.", "Choose one of the list of runs.")
    return RunFolder(path, data_dir / "cache")


def write_origin(folder: RunFolder, origin: Origin) -> None:
    path = folder.root / "origin.json"
    with explained(path), written(path) as beside:
        beside.write_bytes(msgspec.json.encode(origin))


def read_origin(folder: RunFolder) -> Origin:
    """Empty when the run never got as far as a checkpoint, or the file is damaged."""
    try:
        return _origins.decode((folder.root / "origin.json").read_bytes())
    except (OSError, ValueError):
        return Origin()


def has_state(folder: RunFolder) -> bool:
    """Something to go on from."""
    return state.exists(folder.state)


def can_resume(folder: RunFolder, became: str) -> bool:
    """`became` as from `state_of`."""
    return became in ("stopped", "failed", "interrupted") and has_state(folder)


def events(folder: RunFolder) -> tuple[list[Event], list[str]]:
    """(events, notes) from the file."""
    return journal.read(folder.events)


def state_of(events: list[Event]) -> str:
    """done, stopped, failed, or interrupted (killed: the record ends in the middle)."""
    for event in reversed(events):
        if isinstance(event, (Warned, Published)):
            continue
        if isinstance(event, (Done, Finished)):
            return "stopped" if event.reason == "stopped" else "done"
        return "failed" if isinstance(event, Failed) else "interrupted"
    return "interrupted"


def listing(data_dir: Path, current: str = "") -> list[dict[str, Any]]:
    """Newest first; `current` is the id of the run that is on. Shape: docs/architecture.md, `runs`."""
    return [_entry(folder, folder.root.name == current) for folder in _newest(data_dir)[:_NEWEST]]


def newest_recipe(data_dir: Path) -> Settings | None:
    """Of the newest run whose recipe can be read."""
    return next((settings for folder in _newest(data_dir) if (settings := _recipe(folder)[0])), None)


def _newest(data_dir: Path) -> list[RunFolder]:
    root = data_dir / "runs"
    if not root.is_dir():
        return []
    names = sorted((path.name for path in root.iterdir() if (path / "recipe.toml").is_file()), reverse=True)
    return [find(data_dir, name) for name in names]


def _entry(folder: RunFolder, running: bool) -> dict[str, Any]:
    settings, problem = _recipe(folder)
    past = told(folder)
    elsewhere = past["state"] == "interrupted" and is_claimed(folder)  # by another program
    became = "running" if running or elsewhere else past["state"]
    return {
        "started": folder.recipe.stat().st_mtime,
        **past,
        "id": folder.root.name,
        "name": settings.naming.output_name if settings else folder.root.name,
        "trigger": settings.naming.trigger_word if settings else "",
        "settings": to_mapping(settings) if settings else None,
        "state": became,
        "can_resume": settings is not None and can_resume(folder, became),
        "notes": past["notes"] + problem,
        "snapshots": [row for row in past["snapshots"] if (folder.root / row["path"]).is_file()],
    }


def told(folder: RunFolder) -> dict[str, Any]:
    """What the events say, read once per change of them."""
    try:
        facts = folder.events.stat()
    except FileNotFoundError:
        return _outcome([], [])
    return _cached_outcome(folder.events, facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=_NEWEST)
def _cached_outcome(path: Path, mtime_ns: int, size: int) -> dict[str, Any]:
    return _outcome(*journal.read(path))


def _recipe(folder: RunFolder) -> tuple[Settings | None, list[str]]:
    try:
        return recipe.read(folder.recipe), []
    except SettingsError as error:
        return None, [str(error)]


def _outcome(past: list[Event], notes: list[str]) -> dict[str, Any]:
    progress, done, became = _last(past, Progress), _last(past, Finished), state_of(past)
    failed = _last(past, Failed) if became == "failed" else None
    return {
        "state": became,
        "error": failed.text if failed else "",
        "remedy": failed.remedy if failed else "",
        "notes": notes,
        "steps": max(progress.step if progress else 0, done.step if done else 0),
        "total_steps": progress.total_steps if progress else 0,
        "seconds": done.seconds if done else 0.0,
        "loras": _listed(past, Published, lambda e: {"name": e.name, "step": e.step, "path": e.path}),
        "samples": samples(past),
        "snapshots": _listed(past, Snapshot, lambda e: {"step": e.step, "path": e.path, "final": e.final}),
        **({"started": past[0].t} if past else {}),
    }


def samples(past: list[Event]) -> list[dict[str, Any]]:
    """The sample pictures a run tells of; `path` is always `samples/<name>.png`."""
    named = [e for e in past if isinstance(e, Sampled) and re.fullmatch(r"samples/[^/\\]+\.png", e.path)]
    return _listed(
        named, Sampled, lambda e: {"step": e.step, "index": e.index, "prompt": e.prompt, "seed": e.seed, "path": e.path}
    )


def _last(past: list[Event], kind: type[Event]) -> Any:
    return next((event for event in reversed(past) if isinstance(event, kind)), None)


def _listed(past: list[Event], kind: type[Event], row: Callable[[Any], dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per path, the newest: a resumed run draws and publishes some again."""
    rows: Iterator[dict[str, Any]] = (row(event) for event in past if isinstance(event, kind))
    return list({row["path"]: row for row in rows}.values())
