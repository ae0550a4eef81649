"""Renaming over a file and removing one where the system may refuse for a moment: Windows, while anybody reads it."""

from __future__ import annotations

import os
import time
from pathlib import Path

# Windows: access denied, sharing violation, lock violation, memory-mapped by somebody. A virus scanner or the search
# index lets go within a fraction of a second; a program that has a LoRA loaded may hold it for hours.
_HELD = (5, 32, 33, 1224)
_WAITS_S = (0.05, 0.1, 0.2)


def held(error: BaseException | None) -> bool:
    """Whether the file system refuses because of who else uses the file, or may not be written at all."""
    return isinstance(error, PermissionError) or _winerror(error) in _HELD


def replace(source: Path, target: Path) -> None:
    """`os.replace`, tried again for a third of a second where Windows says that the file is in use. Raises OSError."""
    for wait in _WAITS_S:
        try:
            os.replace(source, target)
            return
        except OSError as error:
            if _winerror(error) not in _HELD:
                raise
        time.sleep(wait)
    os.replace(source, target)


def discard(path: Path) -> bool:
    """Remove what nobody needs any more. False where it cannot be removed now: whoever looks next tries again."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def remedy(error: OSError, path: Path | str) -> str:
    """What only Windows refuses: "" for what every system does."""
    number = _winerror(error)
    if number in (32, 33, 1224):
        return "Another program holds it: close that, then save again."
    if number == 206 or (number == 3 and len(str(path)) >= 248):
        return (
            f"Its path has {len(str(path))} characters, Windows takes 259. Move the folder nearer to the drive's root, "
            "or switch on long paths in Windows (LongPathsEnabled)."
        )
    return ""


def _winerror(error: BaseException | None) -> int | None:
    return getattr(error, "winerror", None)
