"""Uploaded pictures that nobody needs any more: dropped when the web UI starts, by one simple rule."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from . import uploads

log = logging.getLogger(__name__)
KEPT_DAYS = 30
_BODY_HOURS = 24  # the longest that a file may take to arrive
_HOUR = 3600.0


def sweep_later(data_dir: Path) -> threading.Thread:
    """`sweep` without keeping anybody waiting."""
    thread = threading.Thread(target=sweep, args=(data_dir,), name="train-lora sweep", daemon=True)
    thread.start()
    return thread


def sweep(data_dir: Path) -> list[str]:
    """Delete uploaded sets that no run was made with and in which nothing changed for KEPT_DAYS, and what a killed
    program had half received. Returns their names; what cannot be deleted is told in the log."""
    found = [*_old(_sets(data_dir), KEPT_DAYS * 24), *_old(data_dir.glob("upload-*"), _BODY_HOURS)]
    used = _recipes(data_dir) if found else ""
    gone = [path for path in found if path.name not in used]
    for path in gone:
        shutil.rmtree(path, onerror=_told)
    if gone:
        log.info("Train LoRA: uploads that no run needs were deleted: %s", ", ".join(path.name for path in gone))
    return [path.name for path in gone]


def _sets(data_dir: Path) -> Iterator[Path]:
    """Only folders whose names we gave; a link is not followed."""
    root = data_dir / "uploads"
    folders = root.iterdir() if root.is_dir() else ()
    return (path for path in folders if uploads.is_set(path.name) and path.is_dir() and not path.is_symlink())


def _old(folders: Iterator[Path], hours: float) -> list[Path]:
    limit = time.time() - hours * _HOUR
    return [folder for folder in folders if max(_times(folder)) < limit]


def _times(folder: Path) -> Iterator[float]:
    for path in (folder, *folder.rglob("*")):
        yield path.lstat().st_mtime


def _recipes(data_dir: Path) -> str:
    """All of them; a set is needed where its name stands, also in a recipe that cannot be read any more."""
    files = (data_dir / "runs").glob("*/recipe.toml")
    return "\n".join(file.read_text(encoding="utf-8", errors="replace") for file in files)


def _told(_function: object, path: str, why: tuple) -> None:
    log.warning("Train LoRA: %s could not be deleted: %s", path, why[1])
