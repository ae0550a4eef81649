"""Sheets: pictures drawn side by side, kept with what each was drawn with; and the one picture made of them all."""

from __future__ import annotations

import json
import re
import secrets
import textwrap
import time
from pathlib import Path
from typing import Any

import msgspec
from PIL import Image, ImageDraw, ImageFont

from ..export.folder import explained, written
from .refusals import NotFound

FOLDER = "sheets"  # in a run's folder; that of pictures without a run lies in the data folder
_NOTE, _WHOLE = "sheet.json", "sheet.png"
_GAP, _LABEL, _SIDE = 8, 34, 320  # pixels of the whole picture


class Cell(msgspec.Struct):
    """One picture. `lora`: a snapshot's path in the run's folder, "" for none; strengths of its two parts."""

    block: int
    row: int
    column: int
    prompt: str
    lora: str = ""
    step: int = 0
    unet: float = 1.0
    te: float = 1.0
    checkpoint: str = ""
    seed: int = 1
    drawn: bool = False
    change: float = -1.0  # against the first picture of its row, 0 to 1; below 0: not measured


class Sheet(msgspec.Struct):
    """Blocks above each other, in each rows and columns; labels are for people."""

    kind: str
    title: str
    blocks: list[str]
    rows: list[str]
    columns: list[str]
    cells: list[Cell]
    id: str = ""
    made: float = 0.0
    negative: str = ""
    width: int = 512
    height: int = 512
    steps: int = 20
    cfg: float = 7.0
    note: str = ""  # what it shows, in a sentence


_decoder = msgspec.json.Decoder(Sheet)


def create(place: Path, sheet: Sheet) -> Path:
    """A new folder for it below `place`; its id is filled in. Raises ExportError."""
    sheet.id, sheet.made = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}", time.time()
    folder = place / sheet.id
    with explained(folder):
        folder.mkdir(parents=True)
    save(folder, sheet)
    return folder


def save(folder: Path, sheet: Sheet) -> None:
    with explained(folder), written(folder / _NOTE) as beside:
        beside.write_bytes(msgspec.json.encode(sheet))


def keep(folder: Path, sheet: Sheet, index: int, image: Image.Image) -> None:
    """Cell `index` is drawn. Raises ExportError."""
    path = folder / _name(index)
    with explained(path), written(path) as beside:
        image.convert("RGB").save(beside, "PNG")
    sheet.cells[index].drawn = True
    save(folder, sheet)


def listing(place: Path) -> list[dict[str, Any]]:
    """Newest first; damaged ones are left out."""
    found = [_read(folder) for folder in sorted(place.glob("*"), reverse=True)]
    return [json.loads(msgspec.json.encode(sheet)) for sheet in found if sheet]


def find(place: Path, sheet_id: str) -> tuple[Path, Sheet]:
    """Raises NotFound."""
    folder = place / sheet_id
    sheet = _read(folder) if re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{6}", sheet_id) else None
    if sheet is None:
        raise NotFound("There is no such sheet of pictures.", "Load the results again.")
    return folder, sheet


def picture(place: Path, sheet_id: str, index: int) -> Path:
    """File of cell `index`, of the whole for -1. Raises NotFound for what is not drawn (yet)."""
    folder, sheet = find(place, sheet_id)
    path = folder / (_WHOLE if index < 0 else _name(index))
    if index >= len(sheet.cells) or not path.is_file():
        raise NotFound("That picture is not drawn.", "Load the results again.")
    return path


def compose(folder: Path, sheet: Sheet) -> None:
    """`sheet.png`: every picture with its labels, as it can be shown to others. Raises ExportError."""
    scale = min(1.0, _SIDE / max(sheet.width, sheet.height))
    side = (max(1, round(sheet.width * scale)), max(1, round(sheet.height * scale)))
    left = _LABEL * 4 if any(sheet.rows) else _GAP
    head = _LABEL if any(sheet.blocks) else 0
    block = head + _LABEL + len(sheet.rows) * (side[1] + _GAP)
    whole = Image.new("RGB", (left + len(sheet.columns) * (side[0] + _GAP), len(sheet.blocks) * block + _GAP), "white")
    pen = ImageDraw.Draw(whole)
    for number, words in enumerate(sheet.blocks):
        top = number * block
        _write(pen, (_GAP, top + 6), words, whole.width // 8)
        for column, label in enumerate(sheet.columns):
            _write(pen, (left + column * (side[0] + _GAP), top + head + 8), label, side[0] // 8)
        for row, label in enumerate(sheet.rows):
            _write(pen, (_GAP, top + head + _LABEL + row * (side[1] + _GAP)), label, left // 8)
    for index, cell in enumerate(sheet.cells):
        if cell.drawn:
            place = (
                left + cell.column * (side[0] + _GAP),
                cell.block * block + head + _LABEL + cell.row * (side[1] + _GAP),
            )
            with explained(folder / _name(index), "read"), Image.open(folder / _name(index)) as image:
                whole.paste(image.convert("RGB").resize(side, Image.Resampling.LANCZOS), place)
    with explained(folder / _WHOLE), written(folder / _WHOLE) as beside:
        whole.save(beside, "PNG")


def _write(pen: ImageDraw.ImageDraw, place: tuple[int, int], words: str, letters: int) -> None:
    lines = textwrap.wrap(words, max(8, letters))[:8]
    try:
        font = ImageFont.load_default(13)
    except TypeError:  # Pillow before 10.1 has it in one size, with Latin letters only
        font = ImageFont.load_default()
        lines = [line.encode("latin-1", "replace").decode("latin-1") for line in lines]
    pen.text(place, "\n".join(lines), fill="black", font=font)


def _name(index: int) -> str:
    return f"{index:04d}.png"


def _read(folder: Path) -> Sheet | None:
    try:
        return _decoder.decode((folder / _NOTE).read_bytes())
    except (OSError, ValueError):
        return None
