"""Pictures that were drawn go into a training set, each with its caption: the loop of training on the best of them."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path
from typing import Any

from PIL import Image

from ..data import layout
from ..errors import DataError, SettingsError
from ..export.folder import explained, written
from ..hosts.base import Host
from ..settings.load import from_mapping
from . import trust, uploads

_KINDS = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp"}
_TAGS = re.compile(r"<(?:lora|lyco|hypernet):[^>]*>")


def add(host: Host, folder: str, content: bytes, caption: str) -> dict[str, Any]:
    """Into the first concept folder of the data set `folder`, or a new set when that is empty; changes nothing there.

    `{folder, name, count}`; `count` pictures are in that place now. Raises SettingsError, Forbidden, DataError for what
    is no picture, ExportError.
    """
    ending = _ending(content)
    root, place = _place(host, folder)
    name = f"picked-{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**6:06d}"
    path = place / f"{name}{ending}"
    with explained(path):
        with written(path.with_suffix(".txt")) as beside:
            beside.write_text(caption, encoding="utf-8")
        with written(path) as beside:
            beside.write_bytes(content)
    return {"folder": str(root), "name": path.name, "count": sum(map(layout.is_picture, layout.entries(place)[1]))}


def caption_of(content: bytes) -> str:
    """The prompt that the web UI wrote into the picture, without LoRAs; "" when there is none. Raises DataError."""
    _ending(content)
    with Image.open(io.BytesIO(content)) as image:
        text = image.info.get("parameters", "")
    text = text if isinstance(text, str) else ""
    return plain(re.split(r"\n(?:Negative prompt|Steps): ", text)[0])


def plain(prompt: str) -> str:
    """A prompt as a caption: no extra networks, no empty tags."""
    tags = [tag.strip() for tag in _TAGS.sub("", prompt).replace("\n", " ").split(",")]
    return ", ".join(tag for tag in tags if tag)


def _ending(content: bytes) -> str:
    try:
        with Image.open(io.BytesIO(content), formats=list(_KINDS)) as image:
            image.verify()
            return _KINDS[image.format or ""]
    except (OSError, ValueError, SyntaxError, KeyError, Image.DecompressionBombError) as error:
        raise DataError("That is no picture that can be trained on.", "Use PNG, JPEG or WebP.") from error


def _place(host: Host, folder: str) -> tuple[Path, Path]:
    """(data set, folder in it that takes pictures)."""
    if not folder.strip():
        root = uploads.folder_of(host.data_dir(), "")[1]
        return root, root
    settings = from_mapping({"train_data_dir": folder})
    trust.check_folders(settings, host)
    try:
        found = layout.find(settings.data).folders
    except DataError as error:
        raise SettingsError(error.message, error.remedy, "train_data_dir") from error
    return layout.existing(folder, "picture folder"), next(one.path for one in found if not one.is_reg)
