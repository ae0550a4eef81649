"""Captions: finding and reading their files, the modes, and what training does to them. No global randomness."""

from __future__ import annotations

import codecs
import random
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


def decode(data: bytes) -> Captioned:
    """The first line, stripped. UTF-8, UTF-16 and UTF-32 by their mark, UTF-16 without one by its zero bytes, else
    UTF-8, else Windows' Latin-1 (remark "encoding")."""
    text, sure = _text(data)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").strip("\0").split("\n")
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
    return replace(decode(file.read_bytes()), file=file)


def process(caption: str, settings: CaptionSettings, rng: random.Random) -> str:
    """The caption of one sample (golden 03_captions). Draws from `rng` for caption dropout, shuffle, tag dropout.

    Untouched unless shuffling or tag dropout is on; then tags are stripped, and joined with a comma and a space.
    """
    s = settings
    if s.caption_dropout_rate > 0 and rng.random() < s.caption_dropout_rate:
        return ""
    caption = caption.split("\n")[0]
    if not _edits_tags(s):
        return caption
    tags = [tag.strip() for tag in caption.strip().split(s.caption_separator)]
    kept, free = tags[: s.keep_tokens], tags[s.keep_tokens :]
    if s.shuffle_caption:
        rng.shuffle(free)
    if s.caption_tag_dropout_rate > 0:
        free = [tag for tag in free if rng.random() >= s.caption_tag_dropout_rate]
    return ", ".join(kept + free)


def variants(caption: str, settings: CaptionSettings) -> list[str] | None:
    """All texts that `process` can give for a caption; None when tags are shuffled or dropped (too many to list)."""
    if _edits_tags(settings):
        return None
    text = caption.split("\n")[0]
    return [text, ""] if settings.caption_dropout_rate > 0 and text else [text]


def _edits_tags(settings: CaptionSettings) -> bool:
    return settings.shuffle_caption or settings.caption_tag_dropout_rate > 0
