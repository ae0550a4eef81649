"""The layers of the checkpoint a host has loaded, from its file's header: exact sizes before anything is borrowed."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from ..errors import HostError
from ..families.outline import Outline, outline
from ..hosts.base import Host
from ..hosts.checkpoint_file import shapes

_IMPOSSIBLE = (TypeError, ValueError, LookupError, RuntimeError)  # a damaged header; whoever loads the file will say so


def outline_of(host: Host) -> Outline | None:
    """None when nothing is loaded, or its file does not tell: another format or layout."""
    here = host.identity()
    if here is None or not here.path:
        return None
    try:
        facts = os.stat(here.path)
    except OSError:  # moved away since it was loaded
        return None
    return _read(Path(here.path), facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=4)
def _read(path: Path, mtime_ns: int, size: int) -> Outline | None:
    try:
        return outline(shapes(path))
    except (HostError, *_IMPOSSIBLE):
        return None
