"""Reading a folder: which pictures are trained on with which captions, what is left out and why. Headers only.

A picture's pixels are decoded here only when the file's end looks cut off; anything else that is damaged shows when
its latents are made, and is left out then.
"""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from ..errors import DataError
from ..settings.options_data import face_range
from ..settings.schema import CaptionSettings, DataSettings
from . import captions as texts
from . import images, layout
from .layout import PictureFolder
from .masks import MaskFolder
from .types import ImageRecord, LeftOut

_MEDIA = {  # pictures and films of other kinds: reported, since somebody may think they are trained on
    ".gif", ".apng", ".webm", ".mp4", ".mov", ".avi", ".mkv", ".avif", ".heic", ".heif", ".tif", ".tiff", ".jxl",
    ".jp2", ".jfif", ".psd", ".xcf", ".kra", ".svg", ".ico", ".tga", ".exr", ".hdr", ".dds", ".cr2", ".nef", ".arw",
    ".dng", ".pdf", ".zip", ".rar", ".7z",
}  # fmt: skip
_REMARKS = {
    "empty": "{n} caption files are empty; their pictures are trained without a caption: {names}.",
    "encoding": "{n} caption files are not UTF-8 and were read as Western Latin-1; save them as UTF-8: {names}.",
    "lines": "{n} caption files have several lines; only the first is used: {names}.",
}
_TAIL = 4096  # bytes at a file's end in which the end mark is looked for; some editors write more behind it


@dataclass(frozen=True)
class Scan:
    """A data set. `records` are training pictures, then regularisation pictures, each sorted by path."""

    records: list[ImageRecord] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def scan(data: DataSettings, captions: CaptionSettings, trigger: str = "") -> Scan:
    """The data set in `data.train_data_dir` and its regularisation pictures; reads a picture's header, not its pixels.

    Raises DataError when the folder is missing or unreadable, or no training picture is left; SettingsError for a
    background that is no colour, or a range of faces that is none.
    """
    images.colour(data.background)
    found = layout.find(data)
    face_range(data)
    reader = _Reader(data, captions, trigger)
    for folder in found.folders:
        reader.read(folder)
    left_out = found.left_out + reader.left_out
    if not any(not record.is_reg for record in reader.records):
        raise DataError(_nothing_left(data, left_out, reader.notes), "Add pictures, or choose another folder.")
    records = sorted(reader.records, key=lambda record: (record.is_reg, record.path.as_posix()))
    return Scan(records, left_out, found.notes + reader.notes + reader.summary())


def probe(path: Path) -> tuple[tuple[int, int], os.stat_result, bool]:
    """Upright (width, height) of a picture, the file's facts, whether it can be transparent. Raises DataError that says
    what is wrong with it."""
    try:
        with open(path, "rb") as file:
            facts = os.fstat(file.fileno())
            if not facts.st_size:
                raise DataError("is empty (0 bytes)")
            image = images.open_picture(file)
            size, transparent = images.upright_size(image), images.has_transparency(image)
            if not _END[image.format.replace("MPO", "JPEG")](file, facts.st_size):
                file.seek(0)
                images.decode(file.read())  # an unusual end may still be a good picture
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}") from error
    return size, facts, transparent


def _ends_with(mark: bytes, file: BinaryIO, length: int) -> bool:
    file.seek(max(0, length - _TAIL))
    return mark in file.read()


def _riff_is_whole(file: BinaryIO, length: int) -> bool:
    file.seek(4)
    return int.from_bytes(file.read(4), "little") + 8 <= length


def _bmp_is_whole(file: BinaryIO, length: int) -> bool:
    file.seek(2)
    return 0 < int.from_bytes(file.read(4), "little") <= length


_END = {
    "PNG": lambda file, length: _ends_with(b"IEND", file, length),
    "JPEG": lambda file, length: _ends_with(b"\xff\xd9", file, length),
    "WEBP": _riff_is_whole,
    "BMP": _bmp_is_whole,
}


class _Reader:
    """Collects the records of several folders."""

    def __init__(self, data: DataSettings, captions: CaptionSettings, trigger: str):
        self.data, self.captions, self.trigger = data, captions, trigger
        self.masks = MaskFolder(data)
        self.records: list[ImageRecord] = []
        self.left_out: list[LeftOut] = []
        self.notes: list[str] = []
        self._remarks: dict[str, set[str]] = defaultdict(set)
        self._fallbacks: dict[str, int] = defaultdict(int)

    def read(self, folder: PictureFolder) -> None:
        """Every picture directly in `folder`."""
        try:
            folders, files = layout.entries(folder.path)
        except DataError as error:
            self.left_out.append(LeftOut(folder.path, error.message))
            return
        if folders:
            names = ", ".join(f"'{path.name}'" for path in folders[:5])
            self.notes.append(f"Folders inside '{folder.path.name}' are not read: {names}.")
        names = {path.name.lower(): path for path in files}
        before = len(self.records)
        for path in files:
            self._file(path, folder, names)
        if len(self.records) == before:
            self.notes.append(f"'{folder.path.name}' holds no usable pictures.")

    def _file(self, path: Path, folder: PictureFolder, names: dict[str, Path]) -> None:
        kind = path.suffix.lower()
        if kind in _MEDIA:
            self.left_out.append(LeftOut(path, f"{kind} is not one of {', '.join(layout.EXTENSIONS)}"))
        elif kind in layout.EXTENSIONS and path.name.startswith("."):
            self.left_out.append(LeftOut(path, "is a hidden file"))
        elif kind in layout.EXTENSIONS:
            try:
                self.records.append(self._record(path, folder, names))
            except DataError as error:
                self.left_out.append(LeftOut(path, error.message))

    def _record(self, path: Path, folder: PictureFolder, names: dict[str, Path]) -> ImageRecord:
        size, facts, transparent = probe(path)
        mask = self.masks.of(path) or (path if transparent and self.data.alpha_mask else None)
        caption = self._caption(path, folder, names)
        return ImageRecord(
            path, size, caption.text, folder.repeats, folder.is_reg, folder.concept or "",
            mtime_ns=facts.st_mtime_ns, bytes=facts.st_size, caption_file=caption.file, mask=mask,
        )  # fmt: skip

    def _caption(self, path: Path, folder: PictureFolder, names: dict[str, Path]) -> texts.Captioned:
        mode = self.captions.caption_mode
        if mode == "phrase" and folder.is_reg:  # the phrase means the subject, which regularisation does not show
            mode = "files"
        if mode == "files":
            return self._from_file(path, folder, names)
        fixed = {"none": "", "phrase": self.captions.caption_phrase or self.trigger, "folder": _class_of(folder)}
        return texts.Captioned(fixed[mode])

    def _from_file(self, path: Path, folder: PictureFolder, names: dict[str, Path]) -> texts.Captioned:
        flat = folder.concept is None and not folder.is_reg
        fallback = (flat and self.trigger) or _class_of(folder)
        try:
            caption = texts.caption_of(path, names, self.captions, fallback)
        except OSError as error:
            raise DataError(f"its caption file cannot be read: {error.strerror}") from error
        if caption.file is None:
            self._fallbacks[fallback] += 1
        for remark in caption.remarks:
            self._remarks[remark].add(caption.file.name)
        return caption

    def summary(self) -> list[str]:
        """Notes on captions, one per kind."""
        have = {True: "1 picture has no caption file; its", False: "{} pictures have no caption file; their"}
        notes = [f"{have[n == 1].format(n)} caption is '{text}'." for text, n in self._fallbacks.items()]
        for remark, names in sorted(self._remarks.items()):
            first = ", ".join(sorted(names)[:5]) + (", ..." if len(names) > 5 else "")
            notes.append(_REMARKS[remark].format(n=len(names), names=first))
        return notes


def _class_of(folder: PictureFolder) -> str:
    """What the folder's name says its pictures show; the name `reg` says nothing."""
    if folder.concept is None:
        return "" if folder.is_reg else folder.path.name
    return folder.concept


def _nothing_left(data: DataSettings, left_out: list[LeftOut], notes: list[str]) -> str:
    why = "; ".join(f"{item.path.name} {item.reason}" for item in left_out[:3]) or " ".join(notes[:3]).rstrip(".")
    return f"'{data.train_data_dir}' holds no picture that can be trained on" + (f": {why}." if why else ".")
