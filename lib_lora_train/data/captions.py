"""Captions: finding and reading their files."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..settings.schema import CaptionSettings

_MARKS = [  # byte order mark -> encoding; UTF-32's begins like UTF-16's, so it comes first
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
]  # fmt: skip


@dataclass(frozen=True)
class Captioned:
    """A picture's caption and the file it came from, if any. `remarks` are oddities: "empty", "encoding", "lines"."""

    text: str
    file: Path | None = None
    remarks: frozenset[str] = frozenset()


def decode(data: bytes, every_line: bool = False) -> Captioned:
    """The first line, stripped; with `every_line` all that are not empty. UTF-8, UTF-16 and UTF-32 by their mark,
    UTF-16 without one by its zero bytes, else UTF-8, else Windows' Latin-1 (remark "encoding")."""
    text, sure = _text(data)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").strip("\0").split("\n")
    if every_line:
        lines = ["\n".join(line.strip() for line in lines if line.strip())]
    remarks = {
        "encoding": not sure,
        "empty": not text.strip(),
        "lines": any(line.strip() for line in lines[1:]),
    }
    return Captioned(lines[0].strip(), remarks=frozenset(name for name, found in remarks.items() if found))


def _text(data: bytes) -> tuple[str, bool]:
    encodings = [encoding for mark, encoding in _MARKS if data.startswith(mark)][:1]
    if not encodings and data.count(0) > len(data) // 4:  # Western text in UTF-16: every second byte is zero
        encodings = ["utf-16-le" if data[1::2].count(0) >= data[::2].count(0) else "utf-16-be"]
    for encoding in [*encodings, "utf-8"]:
        try:
            return data.decode(encoding), True
        except UnicodeDecodeError:
            continue
    try:
        return data.decode("cp1252"), False
    except UnicodeDecodeError:
        return data.decode("latin-1"), False


def find(picture: Path, names: Mapping[str, Path], extension: str) -> Path | None:
    """The picture's caption file: its stem with `extension`, `.txt` or `.caption`, else its full name with one of them.

    `names` maps lower-case file names of the folder to paths, so letter case does not matter.
    """
    extensions = [f".{extension.strip().lstrip('.')}", ".txt", ".caption"]
    wanted = [base + extension for base in (picture.stem, picture.name) for extension in extensions]
    return next((names[name.lower()] for name in wanted if name.lower() in names), None)


def caption_of(picture: Path, names: Mapping[str, Path], settings: CaptionSettings, fallback: str) -> Captioned:
    """The caption in mode `files`: the file's, else `fallback`. Raises OSError when the file cannot be read."""
    file = find(picture, names, settings.caption_extension)
    if file is None:
        return Captioned(fallback)
    return replace(decode(file.read_bytes(), settings.enable_wildcard), file=file)
