"""Before training on pictures made anew at each use: which of them cannot be decoded, and where their faces are."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

import numpy as np
import torch

from ..errors import DataError
from ..events import Phase, Warned
from ..settings.options_data import face_range
from ..settings.schema import Settings
from . import faces, images
from .ahead import THREADS, ahead
from .faces import Face
from .jobs import content
from .latents import LatentCache
from .pace import Pace
from .plan import Plan
from .store import digest
from .types import ImageRecord

_VERSION = "faces 1"  # raised when faces are looked for differently


def look(plan: Plan, settings: Settings, cache: LatentCache) -> Generator[Phase | Warned, None, tuple[Plan, dict]]:
    """(the plan with faces where they matter, why by index of each used picture that cannot be decoded).

    Raises DataError when a picture changed or vanished, SettingsError when faces are wanted and cannot be found here.
    """
    wants_faces, pace, lost, records = face_range(settings.data) is not None, Pace(), {}, list(plan.records)
    used = [image for image, uses in enumerate(plan.uses) if uses]
    found = ahead(lambda image: _seen(records[image], wants_faces, cache), used, 2 * THREADS, THREADS)
    for number, (image, seen) in enumerate(zip(used, found, strict=True)):
        if pace.due():
            yield Phase(name="latents", text="Checking pictures", done=number, total=len(used))
        if isinstance(seen, DataError):
            lost[image] = seen.message
            yield Warned(text=f"'{records[image].path.name}' {seen.message}; it is left out.", remedy="Replace it.")
        else:
            records[image] = replace(records[image], face=seen)
    faceless = [records[i].path.name for i in used if i not in lost and records[i].face is None]
    if wants_faces and faceless:
        names = ", ".join(faceless[:5]) + (", ..." if len(faceless) > 5 else "")
        yield Warned(
            text=f"No face is found in {len(faceless)} of {len(used)} pictures, which are cut as without: {names}.",
            remedy="Write its place into the name: picture_x_y_width_height.png.",
        )
    yield Phase(name="latents", text="Pictures checked", done=len(used), total=len(used))
    return Plan(records, plan.fits, plan.batch_size, plan.seed), lost


def _seen(record: ImageRecord, wants_faces: bool, cache: LatentCache) -> Face | None | DataError:
    """The face, or why the picture cannot be decoded."""
    data = content(record, cache)
    try:
        pixels = images.decode(data)
    except DataError as error:
        return error
    if not wants_faces:
        return None
    return faces.told(record.path) or _found(pixels, record.digest, cache)


def _found(pixels: np.ndarray, picture: str, cache: LatentCache) -> Face | None:
    """Looked for once per picture; four zeros are remembered for none."""
    key = digest(_VERSION, picture)
    entry = cache.faces.get(key)
    if entry is None:
        entry = {"face": torch.tensor(faces.find(pixels) or (0, 0, 0, 0))}
        cache.faces.put(key, entry)
    x, y, width, height = entry["face"].tolist()
    return (x, y, width, height) if width else None
