"""What to draw side by side, by kind of sheet, and drawing it by the host as a job of its own, never beside a run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
from PIL import Image

from ..errors import HostError, SettingsError
from ..events import Control, Event, Phase
from ..export.folder import RunFolder
from ..hosts.base import Host, PictureRequest
from ..sampling.draw import SampleRequest
from ..sampling.prompts import requests
from ..settings.load import from_mapping
from ..settings.schema import Settings, size_of
from . import leak, runs, sheets
from .chore import Work, while_loaded
from .desk import Desk
from .keep import settings_of, snapshot_of
from .sheets import Cell, Sheet

_MOST = 400  # pictures in a sheet


class Order(msgspec.Struct, frozen=True):
    """What the page asks for. Empty lists: what is usual for the kind. `settings` only without a `run`."""

    kind: str
    run: str = ""
    snapshots: list[str] = []
    strengths: list[float] = []
    te: list[float] = []
    checkpoints: list[str] = []
    prompts: list[str] = []
    settings: dict = {}


@dataclass(frozen=True)
class Subject:
    """What an order is about: the recipe, and the run's snapshots as (path, step); no run: no snapshots."""

    settings: Settings
    samples: list[SampleRequest]
    snapshots: list[tuple[str, int]]


def start(desk: Desk, order: Order) -> dict[str, str]:
    """Begin to draw; `{run: id of the job, sheet: id}`. Raises SettingsError, NotFound, Conflict, HostError."""
    host = desk.host
    folder = runs.find(host.data_dir(), order.run) if order.run else None
    sheet = plan(order, folder)
    made: list[Path] = []

    def work(host: Host) -> Work:
        status = host.status()
        if status.problem:
            raise HostError(status.problem, status.remedy)
        made.append(sheets.create(place_of(host.data_dir(), folder), sheet))
        return lambda control: draw(host, made[0], sheet, folder, control)

    return {"run": desk.runner.begin_chore("sheet", sheet.title, work), "sheet": sheet.id}


def place_of(data_dir: Path, folder: RunFolder | None) -> Path:
    """Where the sheets of a run lie, or those of no run."""
    return (folder.root if folder else data_dir) / sheets.FOLDER


def plan(order: Order, folder: RunFolder | None) -> Sheet:
    """Which pictures. Raises SettingsError for what cannot be drawn, NotFound for a snapshot that is not there."""
    if order.kind not in KINDS:
        raise SettingsError(f"There is no sheet of the kind {order.kind[:80]!r}.", "Reload the page.", "kind")
    subject = _subject(order, folder)
    blocks, rows, columns, cells, note = KINDS[order.kind](order, subject)
    if not 0 < len(cells) <= _MOST:
        raise SettingsError(f"{len(cells)} pictures are too many (or none).", f"Ask for 1 to {_MOST}.", "strengths")
    saving = subject.settings.saving
    width, height = size_of(saving.sample_size.strip() or subject.settings.data.resolution)
    return Sheet(
        kind=order.kind,
        title=f"{subject.settings.naming.output_name}: {TITLES[order.kind]}",
        blocks=blocks,
        rows=rows,
        columns=columns,
        cells=cells,
        negative=saving.sample_negative,
        width=width,
        height=height,
        steps=saving.sample_steps,
        cfg=saving.sample_cfg,
        note=note,
    )


def draw(host: Host, place: Path, sheet: Sheet, folder: RunFolder | None, control: Control) -> Iterator[Event]:
    """Cell by cell, between which the host is free; stopping keeps what is drawn. Raises HostError, ExportError."""
    began, files = host.identity(), _files(sheet, folder)
    todo = list(range(len(sheet.cells)))
    try:
        while todo:
            yield Phase(name="draw", text=sheet.title, done=len(sheet.cells) - len(todo), total=len(sheet.cells))
            yield from while_loaded(host, began, control)
            if control.stopped:
                break
            cell = sheet.cells[todo[0]]
            images = host.txt2img(_request(sheet, cell, files, began.title if began else ""))
            if not images:  # interrupted in the web UI: the user wants the card now, and can go on later
                control.pause()
                yield Phase(name="draw", text=sheet.title)
                continue
            _measure(place, sheet, cell, images[0])
            sheets.keep(place, sheet, todo.pop(0), images[0])
    finally:
        for path, _ in files.values():
            host.release(path)
        if any(cell.drawn for cell in sheet.cells):
            sheets.compose(place, sheet)
    yield Phase(name="draw", text=sheet.title, done=len(sheet.cells) - len(todo), total=len(sheet.cells))


def _subject(order: Order, folder: RunFolder | None) -> Subject:
    settings = settings_of(folder) if folder else from_mapping(order.settings)
    asked = "\n".join(line for line in order.prompts if line.strip())
    saving = msgspec.structs.replace(settings.saving, sample_prompts=asked) if asked else settings.saving
    samples = requests(msgspec.structs.replace(settings, saving=saving), 0)
    past = runs.events(folder)[0] if folder else []
    chosen = [snapshot_of(past, path) for path in order.snapshots]
    return Subject(settings, samples, [(event.path, event.step) for event in chosen])


Plan = tuple[list[str], list[str], list[str], list[Cell], str]


def _strengths(order: Order, subject: Subject) -> Plan:
    """Rows: snapshots; columns: strengths; a block for each prompt."""
    strengths = _numbers(order.strengths, (0.6, 0.8, 1.0, 1.2))
    cells = [
        Cell(b, r, c, sample.prompt, path, step, strength, strength, seed=sample.seed)
        for b, sample in enumerate(subject.samples)
        for r, (path, step) in enumerate(_some(subject))
        for c, strength in enumerate(strengths)
    ]
    rows = [f"step {step}" for _, step in subject.snapshots]
    return _prompts(subject), rows, [f"strength {s:g}" for s in strengths], cells, ""


def _parts(order: Order, subject: Subject) -> Plan:
    """Rows: strength of the U-Net; columns: of the text encoder."""
    unet, te = (_numbers(some, (0.6, 0.8, 1.0, 1.2)) for some in (order.strengths, order.te))
    path, step = _some(subject)[0]
    cells = [
        Cell(b, r, c, sample.prompt, path, step, one, other, seed=sample.seed)
        for b, sample in enumerate(subject.samples)
        for r, one in enumerate(unet)
        for c, other in enumerate(te)
    ]
    note = "Click the best picture: the strengths that work correct the two learning rates."
    return _prompts(subject), [f"U-Net {s:g}" for s in unet], [f"text encoder {s:g}" for s in te], cells, note


def _checkpoints(order: Order, subject: Subject) -> Plan:
    """Rows: checkpoints; columns: strengths."""
    if not order.checkpoints:
        raise SettingsError("No checkpoint is chosen.", "Choose one or more to draw with.", "checkpoints")
    path, step = _some(subject)[0]
    strengths = _numbers(order.strengths, (0.7, 1.0))
    cells = [  # by checkpoint, since loading one takes long
        Cell(b, r, c, sample.prompt, path, step, strength, strength, title, sample.seed)
        for r, title in enumerate(order.checkpoints)
        for b, sample in enumerate(subject.samples)
        for c, strength in enumerate(strengths)
    ]
    return _prompts(subject), list(order.checkpoints), [f"strength {s:g}" for s in strengths], cells, ""


def _leak(order: Order, subject: Subject) -> Plan:
    """Rows: prompts without the trigger; columns: without and with the LoRA, the same seed."""
    trigger, (path, step) = subject.settings.naming.trigger_word.strip(), _some(subject)[0]
    if not order.prompts:
        raise SettingsError("No prompt is given.", "Write what the LoRA should leave alone.", "prompts")
    strength = _numbers(order.strengths, (1.0,))[0]
    cells = []
    for row, sample in enumerate(subject.samples):
        cells.append(Cell(0, row, 0, sample.prompt, seed=sample.seed))
        cells.append(Cell(0, row, 1, sample.prompt, path, step, strength, strength, seed=sample.seed))
    named = [one.prompt for one in subject.samples if trigger and trigger.lower() in one.prompt.lower()]
    note = f"“{named[0]}” holds the trigger word: it says nothing about leaking." if named else ""
    columns = ["without the LoRA", f"with it, strength {strength:g}"]
    return [""], [one.prompt for one in subject.samples], columns, cells, note


def _base(order: Order, subject: Subject) -> Plan:
    """Rows: prompts; columns: seeds; no LoRA at all."""
    seeds = 3
    cells = [
        Cell(0, row, column, sample.prompt, seed=(sample.seed + 1000 * column) % 2**32)
        for row, sample in enumerate(subject.samples)
        for column in range(seeds)
    ]
    columns = [f"seed {subject.samples[0].seed + 1000 * column}" for column in range(seeds)]
    note = "What it draws well already needs fewer steps; what it takes for something else needs another trigger word."
    return [""], [sample.prompt or "no prompt" for sample in subject.samples], columns, cells, note


KINDS: dict[str, Callable[[Order, Subject], Plan]] = {
    "strengths": _strengths,
    "parts": _parts,
    "checkpoints": _checkpoints,
    "leak": _leak,
    "base": _base,
}
TITLES = {
    "strengths": "snapshots and strengths",
    "parts": "U-Net and text encoder",
    "checkpoints": "other checkpoints",
    "leak": "leak check",
    "base": "what the base knows",
}


def _some(subject: Subject) -> list[tuple[str, int]]:
    if not subject.snapshots:
        raise SettingsError("No snapshot is chosen.", "Choose one or more.", "snapshots")
    return subject.snapshots


def _numbers(given: list[float], usual: tuple[float, ...]) -> list[float]:
    numbers = given or list(usual)
    if not all(-10 <= number <= 10 for number in numbers):
        raise SettingsError("Strengths lie between -10 and 10.", "1 is what was trained.", "strengths")
    return numbers


def _prompts(subject: Subject) -> list[str]:
    return [sample.prompt or "no prompt" for sample in subject.samples]


def _files(sheet: Sheet, folder: RunFolder | None) -> dict[str, tuple[Path, str]]:
    """By the snapshot's path: the file, and a name that no other file has had, since web UIs believe their caches."""
    found = {}
    for lora in {cell.lora for cell in sheet.cells if cell.lora}:
        path = folder.root / lora
        if not path.is_file():
            raise SettingsError(f"{path.name} was deleted.", "Choose another snapshot.", "snapshots")
        mark = f"{path.resolve()}{path.stat().st_mtime_ns}".encode()
        found[lora] = (path, f"train_lora_{hashlib.sha256(mark).hexdigest()[:12]}")
    return found


def _request(sheet: Sheet, cell: Cell, files: dict[str, tuple[Path, str]], loaded: str) -> PictureRequest:
    path, name = files[cell.lora] if cell.lora else (None, "")
    called = f" <lora:{name}:{cell.te:g}:{cell.unet:g}>" if path else ""  # the web UIs' order of the two
    return PictureRequest(
        prompt=f"{cell.prompt}{called}".strip(),
        negative=sheet.negative,
        width=sheet.width,
        height=sheet.height,
        steps=sheet.steps,
        cfg=sheet.cfg,
        seed=cell.seed,
        checkpoint=cell.checkpoint or loaded,
        files={name: path} if path else {},
    )


def _measure(place: Path, sheet: Sheet, cell: Cell, image: Image.Image) -> None:
    """Against the row's first picture, in a leak check."""
    if sheet.kind != "leak" or not cell.column:
        return
    first = sheet.cells.index(next(c for c in sheet.cells if (c.block, c.row, c.column) == (cell.block, cell.row, 0)))
    with Image.open(sheets.picture(place.parent, sheet.id, first)) as other:
        cell.change = leak.change(other, image)
