"""The tab's scripts and styles in parts, each a folder of `ui/page`, sent when the page first uses it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from starlette.responses import Response

from .refusals import NotFound

FOLDER = Path(__file__).resolve().parent.parent / "ui" / "page"
_KINDS = {"js": "text/javascript", "css": "text/css"}


def part(name: str) -> Response:
    """All files of a part joined: `results.js` is every script in `ui/page/results`. Raises NotFound."""
    stem, _, kind = name.rpartition(".")
    files = _files(stem, kind) if stem in _parts() and kind in _KINDS else []
    if not files:
        raise NotFound(f"The page has no part {name[:80]!r}.", "Reload the page.")
    content = b"\n".join(path.read_bytes() for path in files)
    headers = {"Cache-Control": "private, max-age=31536000", "X-Content-Type-Options": "nosniff"}
    return Response(content, media_type=_KINDS[kind], headers=headers)


def version() -> str:
    """Changes with any of the files: the page asks for parts under it, so that browsers may keep them."""
    facts = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(FOLDER.rglob("*.*"))]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:12]


def _parts() -> set[str]:
    return {path.name for path in FOLDER.iterdir() if path.is_dir()}


def _files(stem: str, kind: str) -> list[Path]:
    return sorted((FOLDER / stem).glob(f"*.{kind}"))
