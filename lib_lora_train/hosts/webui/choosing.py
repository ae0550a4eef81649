"""How A1111 and reForge choose and load a checkpoint: by one option, at once; what is shown of it, drawing with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL.Image import Image

from ...errors import HostError
from ...families.loan import Identity
from ..base import HostStatus, PictureRequest
from . import pictures, state


def chosen() -> Any | None:
    """The host's CheckpointInfo of what its next picture will be drawn with; None when it must still look for it."""
    from modules import sd_models, shared

    return sd_models.checkpoint_aliases.get(shared.opts.sd_model_checkpoint)


def ready(loaded: Callable[[], Any | None]) -> Any:
    """The chosen checkpoint's model, loaded if it is not: what the host itself does before every picture.

    `loaded` finds it in memory. Needs the host's lock. Raises HostError when the host cannot load it.
    """
    from modules import sd_models, shared

    _ = shared.sd_model  # at start another thread is loading without the lock; this waits for it
    try:
        sd_models.reload_model_weights()
    except Exception as error:  # noqa: BLE001 whatever the host stumbles over, this is what the user needs to know
        raise HostError(
            f"The web UI could not load its checkpoint: {error}", "Choose another checkpoint, or look at its console."
        ) from error
    model = loaded()
    if model is None:
        raise HostError("No checkpoint is loaded.", "Choose one at the top of the page and wait until it is loaded.")
    return model


def identity(model: Any) -> Identity:
    """sha256 only if the host knows it already."""
    from modules import sd_vae

    vae = Path(sd_vae.loaded_vae_file).name if sd_vae.loaded_vae_file else ""
    return _identity(model.sd_checkpoint_info, vae)


def identity_next(model: Any) -> Identity:
    """Of what the next picture will be drawn with, which a pending or one-time switch can make another than `model`."""
    info, now = chosen(), identity(model)
    return now if info is None else _identity(info, now.vae)


def _identity(info: Any, vae: str) -> Identity:
    return Identity(info.title, str(info.filename), info.sha256 or "", info.hash or "", vae)


def status(
    name: str, loaded: Callable[[], Any | None], described: Callable[[HostStatus, Any], HostStatus]
) -> HostStatus:
    """What the head line shows, from memory and without the lock; `described` adds what the model tells."""
    used, total = state.memory()
    memory = {"memory_used_gb": used, "memory_total_gb": total, "card": state.on_card()}
    found = HostStatus(name, "", clip_skip=state.clip_skip(), busy=_busy(), **memory)
    model = loaded()
    if model is not None:
        return described(found, model)
    if chosen() is None and not found.busy:
        return replace(found, problem="No checkpoint is loaded.", remedy="Choose a checkpoint at the top of the page.")
    return found


def _busy() -> str:
    from modules import sd_models

    if sd_models.model_data.lock.locked():
        return "loading the checkpoint"
    return "drawing" if state.is_drawing() else ""


def draw(request: PictureRequest, title: str) -> list[Image]:
    """As `Kind.draw`, by the checkpoint that the request names, or else `title`; options stay as the user has them."""
    title = request.checkpoint or title
    pictures.checkpoint_info(title)  # the host would silently take another one
    with _kept_choice(title):
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
