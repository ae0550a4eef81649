"""The folder of one run: where things lie, writing beside-and-rename so that nothing is ever half there, and what a
refusal of the file system means for the user."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import ExportError
from . import replacing


@dataclass(frozen=True)
class RunFolder:
    """`<data>/runs/<date>-<name>/`; `cache` is shared by all runs."""

    root: Path
    cache: Path

    @property
    def recipe(self) -> Path:
        return self.root / "recipe.toml"

    @property
    def events(self) -> Path:
        return self.root / "events.jsonl"

    @property
    def samples(self) -> Path:
        return self.root / "samples"

    @property
    def snapshots(self) -> Path:
        return self.root / "snapshots"

    @property
    def state(self) -> Path:
        return self.root / "state"

    def relative(self, path: Path) -> str:
        """With forward slashes, for events."""
        return path.relative_to(self.root).as_posix()

    def make(self) -> RunFolder:
        """Raises ExportError naming the folder that cannot be made."""
        for folder in (self.root, self.samples, self.snapshots, self.state, self.cache):
            with explained(folder):
                folder.mkdir(parents=True, exist_ok=True)
        return self

    def tidy(self) -> None:
        """Removes what a killed program left half-written; what is being written now is younger. Raises ExportError."""
        for left in self.root.rglob(".*.tmp"):
            with explained(left, "removed"):
                if time.time() - left.stat().st_mtime > 60:
                    left.unlink(missing_ok=True)


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; renamed over it when the block ends well, removed when it does not.

    Raises OSError as the file system does (disk full, read-only); `path` keeps its old content then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{_temporary(path)}{os.getpid()}.tmp")
    try:
        yield beside
        with open(beside, "rb+") as file:
            os.fsync(file.fileno())
        replacing.replace(beside, path)
    finally:
        replacing.discard(beside)


def _temporary(path: Path) -> str:
    """Begin of the temporary names of `path`; cut, to fit where the real name just does (255 bytes, an emoji has 4)."""
    return f".{path.name[:48]}."


def sweep(path: Path) -> None:
    """Removes what a killed program left of saving `path`, an hour ago or earlier. Raises OSError."""
    for left in path.parent.iterdir() if path.parent.is_dir() else ():
        mine = left.name.startswith(_temporary(path)) and left.name.endswith(".tmp")
        if mine and time.time() - left.stat().st_mtime > 3600:
            left.unlink(missing_ok=True)


_REMEDIES = {
    errno.ENOSPC: "The disk is full. Free some space and save again.",
    errno.EDQUOT: "The disk quota is used up. Free some space and save again.",
    errno.EROFS: "The disk is mounted read-only. Choose a folder on another disk, or make it writable.",
    errno.EACCES: "The folder or file may not be written. Change its permissions, or choose another name or folder.",
    errno.EPERM: "The folder or file may not be written. Change its permissions, or choose another name or folder.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.ENOENT: "The folder is gone. Make it again, or choose another.",
    errno.ENOTDIR: "A file is in the place of a folder of that name. Move it away, or choose another folder.",
    errno.EISDIR: "A folder has this name. Choose another name.",
    errno.EEXIST: "A file is in the place of a folder of that name. Move it away, or choose another folder.",
    errno.EIO: "The disk reports a fault. Save to another disk.",
}


@contextmanager
def explained(path: Path, doing: str = "written") -> Iterator[None]:
    """Turns an OSError inside the block into an ExportError that names `path` and says what to do.

    The OSError stays its `__cause__`, so that a caller can try again on the kinds that pass.
    """
    try:
        yield
    except OSError as error:
        raise explanation(error, path, doing) from error


def explanation(error: OSError, path: Path | str = "", doing: str = "used") -> ExportError:
    """What the file system's refusal means for the user; `path` is what it refused, if the error does not know."""
    what = path or error.filename or "A file"
    known = _REMEDIES.get(error.errno or 0, "Check the folder, then save again.")
    remedy = replacing.remedy(error, what) or known
    return ExportError(f"{what} cannot be {doing}: {error.strerror or error}.", remedy)
