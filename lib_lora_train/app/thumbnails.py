"""The picture on a LoRA's card: drawn by the host, else the run's last sample, else the drawing in `preview/`."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from ..errors import TrainLoraError
from ..events import Event, Warned
from ..export import thumbnail
from ..hosts.base import Host, PictureRequest
from ..settings.schema import Settings, size_of

if TYPE_CHECKING:
    from .publish import Publication

log = logging.getLogger(__name__)
PREVIEW = Path(__file__).parents[2] / "preview"
Tell = Callable[[Event], None]


def show(host: Host, item: Publication, path: Path, tell: Tell) -> str:
    """Name of the picture beside the LoRA `path`, made when there is none yet or the run is over; "" for none.

    Never raises for a picture that fails; that is told as Warned.
    """
    png = path.with_suffix(".png")
    if not item.settings.saving.make_thumbnail:
        return ""
    own = thumbnail.users_picture(png)
    if own is not None or (png.exists() and not item.final):
        return (own or png).name
    try:
        thumbnail.write(png, _picture(host, item, path.stem, tell))
    except TrainLoraError as error:
        tell(Warned(text=error.message, remedy=error.remedy))
        return ""
    return png.name


def request(settings: Settings, name: str, family: str, checkpoint: str = "") -> PictureRequest:
    """txt2img of the trigger word with the LoRA `name` at its preferred weight."""
    naming, saving = settings.naming, settings.saving
    template = _templates().get(family) or _templates()["SD1"]
    first_sample = saving.sample_prompts.strip().split("\n")[0].split(" --")[0].strip()
    trigger = naming.trigger_word or naming.activation_text or first_sample
    width, height = size_of(saving.sample_size.strip() or settings.data.resolution)
    prompt = template["prompt"].replace("{trigger}", trigger)
    return PictureRequest(
        prompt=f"{prompt} <lora:{name}:{naming.preferred_weight or 1:g}>".strip(),
        negative=saving.sample_negative or template["negative"],
        width=width,
        height=height,
        steps=saving.sample_steps,
        cfg=saving.sample_cfg,
        seed=saving.sample_seed,
        checkpoint=checkpoint,
    )


@lru_cache(maxsize=1)
def _templates() -> dict[str, dict[str, Any]]:
    return json.loads((PREVIEW / "prompts.json").read_text(encoding="utf-8"))


def _picture(host: Host, item: Publication, name: str, tell: Tell) -> Image.Image:
    if item.final and item.draw:
        image = _drawn(host, request(item.settings, name, item.family, item.checkpoint), tell)
        if image is not None:
            return image
    return _sample(item.sample, tell) or thumbnail.card_art(PREVIEW / "card-art.png", name)


def _drawn(host: Host, wanted: PictureRequest, tell: Tell) -> Image.Image | None:
    remedy = "The card shows the last sample instead. Draw one in txt2img and set it as the card's preview."
    try:
        images = host.txt2img(wanted)
    except Exception as error:
        # whatever the host's pipeline or another extension in it raises, the LoRA is trained and saved
        log.exception("Train LoRA: the thumbnail could not be drawn")
        tell(Warned(text=f"The thumbnail could not be drawn: {error}.", remedy=remedy))
        return None
    if not images:
        tell(Warned(text="The web UI drew no thumbnail (interrupted?).", remedy=remedy))
        return None
    return images[0]


def _sample(path: Path | None, tell: Tell) -> Image.Image | None:
    if path is None:
        return None
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, ValueError) as error:
        tell(Warned(text=f"The sample {path.name} cannot be shown on the card: {error}."))
        return None
