"""“Keep this one”: any snapshot of a run becomes the LoRA of its name, with the strength that was chosen for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from ..errors import ExportError
from ..events import Event, Published, Snapshot, Warned
from ..export import lora_file
from ..export.folder import RunFolder
from ..settings import recipe
from ..settings.schema import Settings
from . import runs, sheets
from .desk import Desk
from .journal import Journal
from .publish import Publication, publish
from .refusals import Conflict, NotFound

_FAMILIES = {"sd_v1": "SD1", "sd_v2": "SD2", "sdxl": "SDXL"}  # by how `ss_base_model_version` begins


class Wish(msgspec.Struct, frozen=True):
    """`snapshot` as in the list of runs; `weight` 0: the recipe's; `sheet` and `cell`: the picture it was chosen by."""

    run: str
    snapshot: str
    weight: float = 0.0
    sheet: str = ""
    cell: int = -1


def keep(desk: Desk, wish: Wish) -> dict[str, Any]:
    """Publishes; `{name, path, step, notes}`. Raises NotFound, Conflict while that run is on, ExportError.

    Nothing is drawn for it, so that it needs no lock: the card shows the picture it was chosen by, else the sample of
    that step.
    """
    host = desk.host
    folder = runs.find(host.data_dir(), wish.run)
    job = desk.runner.job
    if job is not None and job.id == wish.run and not job.over.is_set():
        raise Conflict("This run is on.", "Its newest snapshot is in the LoRA folder already; keep one after its end.")
    past = runs.events(folder)[0]
    chosen = snapshot_of(past, wish.snapshot)
    item = Publication(
        source=_file(folder, chosen),
        settings=_settings(folder, wish),
        step=chosen.step,
        final=True,
        overwrite=runs.read_origin(folder).overwrite,
        family=_family(folder.root / chosen.path),
        sample=_picture(folder, past, wish, chosen.step),
        draw=False,
    )
    told: list[Event] = []
    done = publish(host, item, told.append)
    journal = Journal(folder.events, resume=True)
    for event in (*told, done):
        journal.add(event)
    notes = [f"{event.text} {event.remedy}".strip() for event in told if isinstance(event, Warned)]
    return {"name": done.name, "path": done.path, "step": done.step, "notes": notes}


def snapshot_of(past: list[Event], path: str) -> Snapshot:
    """The one that the run tells of under `path`; no other file is ever looked at. Raises NotFound."""
    found = [event for event in past if isinstance(event, Snapshot) and event.path == path]
    if not found:
        raise NotFound("This run has no such snapshot.", "Load the list of runs again.")
    return found[-1]


def settings_of(folder: RunFolder) -> Settings:
    return recipe.read(folder.recipe)


def kept(past: list[Event]) -> Published | None:
    """What was published last."""
    return next((event for event in reversed(past) if isinstance(event, Published)), None)


def _file(folder: RunFolder, chosen: Snapshot) -> Path:
    path = (folder.root / chosen.path).resolve()
    if not path.is_relative_to(folder.snapshots.resolve()) or not path.is_file():
        raise NotFound(f"The snapshot of step {chosen.step} was deleted.", "Choose another one.")
    return path


def _settings(folder: RunFolder, wish: Wish) -> Settings:
    settings = settings_of(folder)
    if not wish.weight > 0:
        return settings
    naming = msgspec.structs.replace(settings.naming, preferred_weight=min(wish.weight, 10.0))
    return msgspec.structs.replace(settings, naming=naming)


def _family(path: Path) -> str:
    try:
        version = str(lora_file.read_metadata(path).get("ss_base_model_version", ""))
    except ExportError:
        version = ""
    return next((family for begin, family in _FAMILIES.items() if version.startswith(begin)), "SD1")


def _picture(folder: RunFolder, past: list[Event], wish: Wish, step: int) -> Path | None:
    if wish.sheet:
        return sheets.picture(folder.root / sheets.FOLDER, wish.sheet, wish.cell)
    drawn = runs.samples(past)
    fitting = [row for row in drawn if row["step"] == step and row["index"] == 0] or drawn[-1:]
    return folder.root / fitting[0]["path"] if fitting else None
