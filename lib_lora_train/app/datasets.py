"""Scanned data sets in memory: scanned again only when a file changed, pictures given out small and by number."""

from __future__ import annotations

import io
import os
import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image

from ..data import images
from ..data.buckets import fits
from ..data.lint import Lint, lint
from ..data.scan import Scan, scan
from ..data.sketch import Sketches
from ..data.types import Fit, ImageRecord
from ..errors import DataError, SettingsError
from ..settings.schema import Settings
from .refusals import NotFound
from .trust import typed_folder

_SETS = 8  # remembered at a time
_THUMBNAILS = 1024
_SIDES = (32, 512)  # of a thumbnail, px


@dataclass(frozen=True)
class DataSet:
    """`id` is random and names the set in the page's requests; `folders` are where a change would make it another."""

    id: str
    scan: Scan
    fits: list[Fit]
    lints: list[Lint]
    folders: list[Path]
    stamp: int

    @property
    def records(self) -> list[ImageRecord]:
        return self.scan.records


class DataSets:
    """Thread-safe, bounded."""

    def __init__(self) -> None:
        self._scanning, self._lock = threading.Lock(), threading.Lock()
        self._sets: OrderedDict[object, DataSet] = OrderedDict()
        self._sketches = Sketches()
        self._small = lru_cache(maxsize=_THUMBNAILS)(small_jpeg)

    def look(self, settings: Settings) -> DataSet:
        """The settings' pictures. The same object as long as no file and no setting about pictures changed.

        Raises SettingsError (field train_data_dir) when there is nothing to train on.
        """
        key = (settings.data, settings.captions, settings.naming.trigger_word)
        with self._scanning:  # a second asker waits for the first one's scan instead of scanning too
            known = self._sets.get(key)
            if known is None or known.stamp != _stamp(known.folders):
                known = _scanned(settings, self._sketches)
            with self._lock:
                self._sets[key] = known
                self._sets.move_to_end(key)
                while len(self._sets) > _SETS:
                    self._sets.popitem(last=False)
            return known

    def picture(self, set_id: str, index: int, size: int) -> bytes:
        """A JPEG at most `size` px wide and high. Raises NotFound; DataError for a file that is no picture any more."""
        asked = set_id.encode(errors="replace")
        with self._lock:
            found = next((s for s in self._sets.values() if secrets.compare_digest(s.id.encode(), asked)), None)
        if found is None or not 0 <= index < len(found.records):
            raise NotFound("That picture is not in the list any more.", "Look at the folder again.")
        record = found.records[index]
        return self._small(record.path, record.mtime_ns, min(max(size, _SIDES[0]), _SIDES[1]))


def _scanned(settings: Settings, sketches: Sketches) -> DataSet:
    try:
        found = scan(settings.data, settings.captions, settings.naming.trigger_word)
    except DataError as error:
        raise SettingsError(error.message, error.remedy, error.field or "train_data_dir") from error
    where = fits(found.records, settings.data)
    lints = lint(found, settings.naming.trigger_word, settings.data, sketches)
    folders = _folders(settings, found)
    return DataSet(secrets.token_urlsafe(12), found, where, lints, folders, _stamp(folders))


def _folders(settings: Settings, found: Scan) -> list[Path]:
    """Those that hold the files, and those above them up to the chosen ones."""
    data = settings.data
    chosen = (data.train_data_dir, data.reg_data_dir, data.conditioning_data_dir)
    roots = {typed_folder(text) for text in chosen if text.strip()}
    folders = set(roots)
    for item in (*found.records, *found.left_out):
        folders.add(item.path.parent)
        folders.update(p for p in item.path.parents if any(root in p.parents for root in roots))
    return sorted(folders)


def _stamp(folders: list[Path]) -> int:
    """Changes whenever a file in one of `folders` does: cheap beside opening every picture."""
    return hash(tuple(entry for folder in folders for entry in _entries(folder)))


def _entries(folder: Path) -> Iterator[tuple[str, int, int]]:
    """(path, bytes, mtime) of what is in it; a folder that cannot be read has its complaint for content."""
    try:
        with os.scandir(folder) as found:
            for entry in sorted(found, key=lambda entry: entry.name):
                facts = entry.stat()
                yield (entry.path, facts.st_size, facts.st_mtime_ns)
    except OSError as error:
        yield (f"{folder}: {error.strerror}", 0, 0)


def small_jpeg(path: Path, mtime_ns: int, side: int) -> bytes:
    """As it is trained on (upright, on white), at most `side` px; `mtime_ns` only tells versions of a file apart.

    Raises DataError naming the file.
    """
    try:
        small = Image.fromarray(images.decode(path.read_bytes()))
    except (DataError, OSError) as error:
        raise DataError(f"{path.name} cannot be shown: {error}.", "Replace or remove the file.") from error
    small.thumbnail((side, side))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=80)
    return out.getvalue()
