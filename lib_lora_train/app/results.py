"""Routes of the results: sheets of pictures, keeping a snapshot, deleting with undo, pictures into the training set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.responses import Response

from . import collect, grid, keep, leak, runs, sheets, trash
from .desk import Ask, Desk, Handler, picture
from .refusals import Conflict


def kept(desk: Desk, ask: Ask) -> dict[str, Any]:
    return keep.keep(desk, ask.as_a(keep.Wish))


def sheet(desk: Desk, ask: Ask) -> dict[str, Any]:
    return grid.start(desk, ask.as_a(grid.Order))


def sheet_list(desk: Desk, ask: Ask) -> dict[str, Any]:
    """Of a run, or those of no run; a leak check's numbers in words too."""
    found = sheets.listing(_place(desk, ask))
    for one in found:
        for cell in one["cells"]:
            cell["words"] = leak.words(cell["change"]) if cell["change"] >= 0 else ""
    return {"sheets": found}


def sheet_picture(desk: Desk, ask: Ask) -> Response:
    path = sheets.picture(_place(desk, ask), ask.text("sheet"), ask.number("cell", -1))
    return picture(path.read_bytes(), "image/png")


def picked(desk: Desk, ask: Ask) -> dict[str, Any]:
    """A sheet's picture into the training set `folder`; its prompt becomes the caption."""
    place, index = _place(desk, ask), ask.number("cell", 0)
    content = sheets.picture(place, ask.text("sheet"), max(0, index)).read_bytes()
    caption = sheets.find(place, ask.text("sheet"))[1].cells[max(0, index)].prompt
    return collect.add(desk.host, ask.text("folder"), content, collect.plain(caption))


def sent(desk: Desk, ask: Ask) -> dict[str, Any]:
    """A picture of the web UI's gallery as the raw body, into the training set `folder`; its own prompt is the caption,
    else `caption`."""
    content = ask.values["received"].read_bytes()
    caption = collect.caption_of(content) or collect.plain(ask.text("caption"))
    return collect.add(desk.host, ask.text("folder"), content, caption)


def checkpoints(desk: Desk, ask: Ask) -> dict[str, Any]:
    return {"checkpoints": desk.host.checkpoints()}


def delete(desk: Desk, ask: Ask) -> dict[str, Any]:
    job, run = desk.runner.status(), ask.text("run")
    if job and run and job["id"] == run:
        raise Conflict("This run is on.", "Stop it first.")
    item = trash.throw_run(desk.host, run) if run else trash.throw_lora(desk.host, ask.text("lora"))
    return {"id": item.id, "kind": item.kind, "name": item.name}


def restore(desk: Desk, ask: Ask) -> dict[str, Any]:
    item = trash.restore(desk.host, ask.text("id"))
    return {"kind": item.kind, "name": item.name}


def thrown(desk: Desk, ask: Ask) -> dict[str, Any]:
    return {"items": trash.listing(desk.host.data_dir()), "days": trash.DAYS}


def _place(desk: Desk, ask: Ask) -> Path:
    data_dir, run = desk.host.data_dir(), ask.text("run")
    return grid.place_of(data_dir, runs.find(data_dir, run) if run else None)


GET: dict[str, Handler] = {
    "sheets": sheet_list,
    "sheets/picture": sheet_picture,
    "checkpoints": checkpoints,
    "trash": thrown,
}
POST: dict[str, Handler] = {"keep": kept, "sheet": sheet, "delete": delete, "restore": restore, "collect": picked}
FILES: dict[str, Handler] = {"collect/file": sent}
