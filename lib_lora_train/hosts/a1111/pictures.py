"""Drawing with A1111's own txt2img, leaving options as the user has them. (Files, flags: hosts/webui/pictures.py.)"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from PIL.Image import Image

from ..base import PictureRequest
from ..webui import pictures
from . import tensors


def draw(request: PictureRequest, model: Any) -> list[Image]:
    """As `Kind.draw`; with `model` unless the request names another checkpoint."""
    title = request.checkpoint or model.sd_checkpoint_info.title
    pictures.checkpoint_info(title)  # the host would silently take another one
    with _kept_choice(title), tensors.on_device(model):
        return pictures.draw(
            request,
            override_settings={"sd_model_checkpoint": title},
            override_settings_restore_afterwards=False,  # see _kept_choice
        )


@contextmanager
def _kept_choice(title: str) -> Iterator[None]:
    """Put the chosen checkpoint back, unless the user chose another one meanwhile (which the host would undo).

    Titles get their hash when a checkpoint is loaded for the first time, so not they are compared but what they name.
    """
    from modules import sd_models, shared

    data, named = shared.opts.data, sd_models.checkpoint_aliases
    before, asked = data.get("sd_model_checkpoint"), named.get(title)
    try:
        yield
    finally:
        if named.get(data.get("sd_model_checkpoint")) is asked:
            data["sd_model_checkpoint"] = before
