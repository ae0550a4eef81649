"""Drawing with the web UI's own txt2img, leaving files and flags as the user has them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from PIL.Image import Image

from ...errors import HostError
from ..base import PictureRequest
from . import loras
from .state import OWN_JOB

_SAMPLERS = ("DPM++ 2M", "Euler a", "Euler")  # the first that the host has
_SYNTAX = re.compile(r"[\\()\[\]]")
_FLAGS = ("interrupted", "skipped", "stopping_generation")


def checkpoint_info(title: str) -> Any:
    """What the host knows of the checkpoint called `title`. Raises HostError when there is none."""
    from modules import sd_models

    if title not in sd_models.checkpoint_aliases:
        raise HostError(f"The web UI has no checkpoint called {title}.", "Refresh its list of checkpoints.")
    return sd_models.checkpoint_aliases[title]


def draw(request: PictureRequest, **more: Any) -> list[Image]:
    """The request's pictures; `more` goes to the host's processing. Needs the host's lock and leaves LoRAs merged.

    Fewer pictures than asked for when the user interrupted them. Raises HostError when the host cannot draw.
    """
    from modules import processing, shared

    with ExitStack() as stack:
        job = stack.enter_context(_own_job())
        for prepared in (_kept_history(), _clip_skip(request), loras.named(request.files)):
            stack.enter_context(prepared)
        process = stack.enter_context(closing(_process(request, **more)))
        try:
            images = list(processing.process_images(process).images)
            return [] if job.interrupted or job.skipped else images  # what there is then is half noise
        except Exception as error:  # noqa: BLE001 the host's reasons are many
            raise HostError(f"The web UI could not draw the picture: {error}", "Look at its console.") from error
        finally:
            shared.total_tqdm.clear()


def _process(request: PictureRequest, **more: Any) -> Any:
    from modules import processing, scripts, sd_samplers

    wanted = (request.sampler,) if request.sampler else _SAMPLERS
    samplers = [name for name in wanted if name in sd_samplers.all_samplers_map]
    if request.sampler and not samplers:
        raise HostError(f"The web UI has no sampler {request.sampler}.", "Its own list says what it has.")
    kind = processing.StableDiffusionProcessingTxt2Img
    scheduler = {"scheduler": "Automatic"} if "scheduler" in kind.__dataclass_fields__ else {}  # since 1.9
    process = kind(
        prompt=_literal(request.prompt) if request.literal else request.prompt,
        negative_prompt=request.negative,
        seed=request.seed,
        steps=request.steps,
        cfg_scale=request.cfg,
        width=_of_eight(request.width),
        height=_of_eight(request.height),
        sampler_name=samplers[0] if samplers else None,
        restore_faces=False,
        tiling=False,
        do_not_save_samples=True,
        do_not_save_grid=True,
        **scheduler,
        **more,
    )
    process.scripts = scripts.ScriptRunner()  # of none; reForge takes for granted that there is a list
    return process


def _of_eight(pixels: int) -> int:
    return max(8, round(pixels / 8) * 8)


def _literal(caption: str) -> str:
    """The prompt that gives the caption's own tokens: brackets escaped, words in small letters, since AND and BREAK are
    syntax in capitals and CLIP reads only small ones; no extra networks."""
    from modules import shared

    text = caption.lower().replace("<", "< ")
    plain = getattr(shared.opts, "emphasis", "Original") == "None"  # brackets mean nothing then, nor do escapes
    return text if plain else _SYNTAX.sub(lambda found: "\\" + found[0], text)


@contextmanager
def _clip_skip(request: PictureRequest) -> Iterator[None]:
    """The request's, as if the user had set it."""
    from modules import shared

    data, name = shared.opts.data, "CLIP_stop_at_last_layers"
    before = data.get(name)
    if request.clip_skip:
        data[name] = request.clip_skip
    try:
        yield
    finally:
        if request.clip_skip and before is not None:
            data[name] = before
        elif request.clip_skip:
            data.pop(name, None)


@contextmanager
def _own_job() -> Iterator[Any]:
    """Progress bars show a job of ours. An interruption by the user ends it and stays noted for who else looks."""
    from modules import shared

    before = {name: getattr(shared.state, name, False) for name in _FLAGS}
    shared.state.begin(job=OWN_JOB)
    try:
        yield shared.state
    finally:
        shared.state.end()
        for name, value in before.items():
            setattr(shared.state, name, value or getattr(shared.state, name, False))


@contextmanager
def _kept_history() -> Iterator[None]:
    """The host writes every prompt to a file from which the user gets back the last picture's settings."""
    from modules import paths

    file = Path(paths.data_path) / "params.txt"
    before = file.read_bytes() if file.exists() else None
    try:
        yield
    finally:
        if before is not None:
            file.write_bytes(before)
        else:
            file.unlink(missing_ok=True)
