"""The stand-alone page's LoRA cards as data: name, prompt and thumbnail of every file in the LoRA folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

THUMBNAILS = {".png": "image/png", ".preview.png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp"}


def cards(folder: Path) -> list[dict[str, Any]]:
    """`{name, prompt, thumbnail}` by name; `thumbnail` is when the picture was made, 0 without one."""
    return [_card(path) for path in sorted(folder.rglob("*.safetensors"), key=lambda p: p.stem.lower())]


def _card(path: Path) -> dict[str, Any]:
    notes, picture = _notes(path.with_suffix(".json")), thumbnail(path)
    weight = notes.get("preferred weight") or 1
    words = notes.get("activation text") or ""
    return {
        "name": path.stem,
        "prompt": f"<lora:{path.stem}:{weight}> {words}".strip(),
        "thumbnail": picture.stat().st_mtime_ns if picture else 0,
    }


def _notes(path: Path) -> dict[str, Any]:
    """What stands on the card; a file that is no such table counts as none, as in the web UIs."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def thumbnail(lora: Path) -> Path | None:
    """The picture beside a LoRA file."""
    return next((p for p in (lora.with_suffix(ending) for ending in THUMBNAILS) if p.is_file()), None)


def find(folder: Path, name: str) -> Path | None:
    """The LoRA of that name, never by a path."""
    return next((path for path in folder.rglob("*.safetensors") if path.stem == name), None)
