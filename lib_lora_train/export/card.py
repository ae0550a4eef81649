"""The card's `<name>.json` beside a LoRA: our entries merged in, the user's own kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..settings.schema import Naming
from .folder import explained, written
from .replacing import replace

OURS = "train lora"  # what we wrote last, kept in the card itself: unknown keys survive the web UI's editor
_EMPTY = ("", None, 0, 0.0, "Unknown")  # what the web UI's editor saves for "not set"


def entries(naming: Naming, family: str, negative: str = "", description: str = "") -> dict[str, Any]:
    """The card of a recipe. `family`: SD1, SD2, SDXL, as the card calls them too. `preferred weight` 0 is the web UI's
    default."""
    return {
        "description": description,
        "sd version": family,
        "activation text": naming.activation_text or naming.trigger_word,
        "preferred weight": naming.preferred_weight,
        "negative text": negative,
        "notes": naming.training_comment,
    }


def merge(path: Path, entries: Mapping[str, Any]) -> str:
    """Writes `entries` into the card at `path` (made if absent) and returns a note for the user, mostly "".

    An entry is written where the card has none, an empty one, or the one we wrote before (remembered in the card under
    `train lora`). Whatever else stands there is the user's and stays. A card that cannot be read is kept beside as
    `.bak`. Raises ExportError when the file cannot be written.
    """
    with explained(path):
        card, note = _read(path)
        before = card.get(OURS)
        before = before if isinstance(before, dict) else {}
        taken = {name: value for name, value in entries.items() if _is_ours(card.get(name), before.get(name))}
        new = {**card, **taken, OURS: {**before, **taken}}
        if new != card:
            with written(path) as beside:
                # a lone surrogate becomes its JSON escape
                text = json.dumps(new, indent=4, ensure_ascii=False).encode(errors="backslashreplace")
                beside.write_bytes(text)
    return note


def _is_ours(value: Any, before: Any) -> bool:
    return value in _EMPTY or value == before


def _read(path: Path) -> tuple[dict[str, Any], str]:
    """(card, note); a damaged card is moved aside."""
    try:
        card = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return {}, ""
    except (ValueError, RecursionError):
        card = None
    if isinstance(card, dict):
        return card, ""
    kept = _aside(path)
    return {}, f"The card {path.name} was damaged and is kept as {kept.name}; a new one was written."


def _aside(path: Path) -> Path:
    """Renames to the first free `.json.bak`, `.json.2.bak`, ..."""
    number = 1
    kept = path.with_name(path.name + ".bak")
    while kept.exists():
        number += 1
        kept = path.with_name(f"{path.name}.{number}.bak")
    replace(path, kept)
    return kept
