"""A run's folder belongs to one process at a time: a lock on a file in it, freed by the system when that one ends."""

from __future__ import annotations

import errno
import logging
from contextlib import suppress
from io import FileIO
from types import ModuleType

from ..export.folder import RunFolder, explained
from .refusals import Conflict

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

log = logging.getLogger(__name__)
_NAME = "in-use.lock"
_HELD = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK)


class Claim:
    """Holds the folder until `release` or the end of the process, however it ends; the file itself stays."""

    def __init__(self, file: FileIO):
        self._file = file

    def release(self) -> None:
        self._file.close()


def claim(folder: RunFolder) -> Claim:
    """Raises Conflict when another process has it, ExportError when nothing can be written there.

    A disk without locks (some network drives) is told in the log and gives a claim that keeps nobody out.
    """
    path = folder.root / _NAME
    with explained(path):
        file = FileIO(path, "a+")
    try:
        _lock(file)
    except OSError as error:
        if error.errno in _HELD:
            file.close()
            raise Conflict(
                f"The run {folder.root.name} is being continued by another program.",
                "Wait for it, or stop it there (another web UI, or a terminal).",
            ) from error
        log.warning("Train LoRA: %s cannot be locked (%s); do not continue this run twice at a time.", path, error)
    return Claim(file)


def is_claimed(folder: RunFolder) -> bool:
    """By any process, this one too."""
    if not (folder.root / _NAME).exists():
        return False
    with suppress(OSError), FileIO(folder.root / _NAME, "a+") as file:
        try:
            _lock(file)
        except OSError as error:
            return error.errno in _HELD
    return False


def _lock(file: FileIO) -> None:
    """Without waiting; gone when the file is closed. Raises OSError, with one of `_HELD` when another has it."""
    if fcntl is not None:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    import msvcrt

    file.seek(0)
    msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # a byte beyond the end may be locked too
