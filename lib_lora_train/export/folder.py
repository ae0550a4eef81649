"""The folder of one run: where things lie, and writing beside-and-rename so that nothing is ever half there."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator


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

    def make(self) -> "RunFolder":
        for folder in (self.root, self.samples, self.snapshots, self.state, self.cache):
            folder.mkdir(parents=True, exist_ok=True)
        return self


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; renamed over it when the block ends well, removed when it does not.

    Raises OSError as the file system does (disk full, read-only); `path` keeps its old content then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name[:80]}.{os.getpid()}.tmp")
    try:
        yield beside
        with open(beside, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
