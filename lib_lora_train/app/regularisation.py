"""Matching regularisation pictures: one for each training picture, drawn by the loaded checkpoint as it is, with the
picture's own caption, DDIM, the size it is trained at and the training seed (the guides' "exact way").

They lie in `reg/<repeats>_<concept>/` beside the concept folders under the pictures' own names, each with its caption.
A mark inside the file says what it was drawn with: by it they are known again, made anew when the recipe or the
checkpoint is another one, and deleted without touching anything of the user's.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from ..data import layout
from ..data.buckets import fits
from ..data.scan import scan
from ..data.types import ImageRecord
from ..data.wording import process
from ..errors import DataError, HostError, SettingsError
from ..events import Control, Event, Phase
from ..export.folder import explained, written
from ..hosts.base import Host, PictureRequest
from ..settings.schema import Settings
from . import trust
from .chore import Work, while_loaded
from .jobs import JobRunner
from .refusals import Conflict

MARK = "train_lora_regularisation"
NAME = "Regularisation pictures"


@dataclass(frozen=True)
class Wanted:
    """One picture to be there: `path` is a .png, its caption lies beside it."""

    path: Path
    request: PictureRequest
    caption: str

    @property
    def mark(self) -> str:
        """What it is drawn with; equal marks mean equal pictures. A title's hash comes and goes."""
        facts = {**asdict(self.request), "checkpoint": _plain(self.request.checkpoint), "caption": self.caption}
        return json.dumps(facts, sort_keys=True)


@dataclass(frozen=True)
class Found:
    """How it stands: `there` counts pictures of the user's too, `outdated` were drawn with something else."""

    folder: Path
    wanted: list[Wanted]
    there: list[Wanted]
    outdated: list[Wanted]

    @property
    def todo(self) -> list[Wanted]:
        done = {item.path for item in self.there}
        return [item for item in self.wanted if item.path not in done]

    def as_dict(self) -> dict:
        return {
            "folder": str(self.folder),
            "wanted": len(self.wanted),
            "there": len(self.there),
            "outdated": len(self.outdated),
            "missing": len(self.todo) - len(self.outdated),
        }


def look(settings: Settings, host: Host) -> Found:
    """Reads headers only. Raises SettingsError, Forbidden or HostError by what is wrong with folders or checkpoint."""
    trust.check_folders(settings, host)
    try:
        folder, records = _data_set(settings)
    except DataError as error:
        raise SettingsError(error.message, error.remedy, error.field or "train_data_dir") from error
    wanted = _wanted(settings, host, folder, records)
    marks = {item.path: _there(item.path) for item in wanted}
    there = [item for item in wanted if marks[item.path] in ("", item.mark)]
    outdated = [item for item in wanted if marks[item.path] not in (None, "", item.mark)]
    return Found(folder, wanted, there, outdated)


def begin(settings: Settings, host: Host) -> Found:
    """As `look`, for drawing what is missing. Raises Conflict when nothing is, and as `look`."""
    status = host.status()
    if status.problem:
        raise HostError(status.problem, status.remedy)
    found = look(settings, host)
    if not found.todo:
        raise Conflict(
            f"All {len(found.wanted)} regularisation pictures are there already.",
            "Delete them to have them made again.",
        )
    _check_own(found)
    return found


def start(settings: Settings, runner: JobRunner) -> str:
    """Begin to draw what is missing; the job's id. Raises Conflict when a run is on, and as `begin`."""

    def work(host: Host) -> Work:
        found = begin(settings, host)
        return lambda control: make(found, host, control)

    return runner.begin_chore("regularise", NAME, work)


def make(found: Found, host: Host, control: Control) -> Iterator[Event]:
    """Draws what is missing, one picture at a time, between which the host is free. Raises HostError, ExportError."""
    began, todo, done = host.identity(), found.todo, len(found.there)
    while todo:
        yield Phase(name="draw", text=NAME, done=done, total=len(found.wanted))
        yield from while_loaded(host, began, control)
        if control.stopped:
            return
        images = host.txt2img(todo[0].request)
        if images:
            _keep(todo.pop(0), images[0])
            done += 1
        else:  # interrupted in the web UI: the user wants the card now, and can go on later
            control.pause()
    yield Phase(name="draw", text=NAME, done=done, total=len(found.wanted))


def undo(settings: Settings, host: Host) -> int:
    """Deletes the pictures made here, with their captions if nobody changed them; how many pictures. Raises as `look`,
    and ExportError."""
    found, deleted = look(settings, host), 0
    for png in sorted(found.folder.glob("*/*.png")):
        mark = _mark(png)
        if not mark:
            continue
        with explained(png, "deleted"):
            png.unlink()
            text = png.with_suffix(".txt")
            if text.is_file() and text.read_text(encoding="utf-8", errors="replace") == json.loads(mark)["caption"]:
                text.unlink()
        deleted += 1
    for folder in {item.path.parent for item in found.wanted} | {found.folder}:
        _remove_empty(folder)
    _remove_empty(found.folder)
    return deleted


def _data_set(settings: Settings) -> tuple[Path, list[ImageRecord]]:
    """The regularisation folder, which may hold nothing yet, and the training pictures."""
    folder = layout.reg_folder(settings.data)
    without = msgspec.structs.replace(settings.data, reg_data_dir="")
    records = scan(without, settings.captions, settings.naming.trigger_word).records
    return folder, [record for record in records if not record.is_reg]


def _wanted(settings: Settings, host: Host, folder: Path, records: list[ImageRecord]) -> list[Wanted]:
    identity, status = host.identity(), host.status()
    stems = Counter(_stem(record) for record in records)
    same: Counter = Counter()  # a caption that comes again at the same size would give the same picture
    found = []
    for record, fit in zip(records, fits(records, settings.data), strict=True):
        path = _path(folder, record, stems[_stem(record)] == 1)
        request = PictureRequest(
            prompt=_prompt(settings, record),
            width=fit.bucket[0],
            height=fit.bucket[1],
            steps=settings.saving.sample_steps,
            cfg=settings.saving.sample_cfg,
            seed=(settings.training.seed + same[record.caption, fit.bucket]) % 2**32,
            checkpoint=identity.title if identity else "",
            sampler="DDIM",
            clip_skip=settings.training.clip_skip or status.clip_skip,
            literal=not settings.captions.weighted_captions,
        )
        same[record.caption, fit.bucket] += 1
        found.append(Wanted(path, request, record.caption))
    return found


def _prompt(settings: Settings, record: ImageRecord) -> str:
    """The caption as training says it when nothing is shuffled or dropped; a wildcard falls the same way every time."""
    plain = msgspec.structs.replace(
        settings.captions,
        shuffle_caption=False,
        caption_tag_dropout_rate=0.0,
        token_warmup_step=0.0,
        caption_dropout_rate=0.0,
        caption_dropout_every_n_epochs=0,
    )
    return process(record.caption, plain, random.Random(f"{settings.training.seed}/{record.path.name}"))


def _stem(record: ImageRecord) -> tuple[Path, str]:
    return record.path.parent, record.path.stem.lower()


def _path(folder: Path, record: ImageRecord, alone: bool) -> Path:
    """Named as the training picture; `a.jpg` beside `a.png` gives `a.jpg.png`."""
    own = record.path.parent
    place = folder / (own.name if layout.parse_name(own.name) else f"{record.repeats}_{own.name}")
    own_name = alone or record.path.suffix.lower() == ".png"
    return place / f"{record.path.stem if own_name else record.path.name}.png"


def _there(path: Path) -> str | None:
    """The mark of the picture that is at `path`, "" for one of the user's, None for none. Theirs may be a .jpg."""
    if path.is_file():
        return _mark(path)
    others = (path.with_suffix(suffix) for suffix in layout.EXTENSIONS)
    return "" if any(other.is_file() for other in others) else None


def _mark(png: Path) -> str:
    try:
        with Image.open(png) as image:
            mark = image.info.get(MARK, "")
            return mark if isinstance(mark, str) and isinstance(json.loads(mark), dict) else ""
    except (OSError, ValueError, UnidentifiedImageError):
        return ""


def _check_own(found: Found) -> None:
    """Concept folders would hide the user's pictures that lie in `reg` itself."""
    if found.folder.is_dir() and any(map(layout.is_picture, layout.entries(found.folder)[1])):
        raise SettingsError(
            f"'{found.folder}' holds regularisation pictures already, not in a folder such as '1_class'.",
            "Move them into such a folder, or choose another folder for regularisation.",
            "reg_data_dir",
        )


def _keep(item: Wanted, image: Image.Image) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text(MARK, item.mark)
    text = item.path.with_suffix(".txt")
    with explained(item.path):
        with written(text) as beside:
            beside.write_text(item.caption, encoding="utf-8")
        with written(item.path) as beside:
            image.convert("RGB").save(beside, "PNG", pnginfo=info)


def _remove_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        with explained(folder, "deleted"):
            folder.rmdir()


def _plain(title: str) -> str:
    return title.partition(" [")[0]
