"""Putting a LoRA of a run into the web UI's folder: file, card and picture; what was there before is never lost."""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ..errors import ExportError, TrainLoraError
from ..events import Event, Phase, Published, Warned
from ..export import card, lora_file, metadata, names
from ..export.folder import explained, sweep
from ..export.replacing import discard, held
from ..hosts.base import Host
from ..settings.schema import Settings
from . import thumbnails

Tell = Callable[[Event], None]
_TRIES, _FIRST_WAIT = 4, 0.2  # seconds, doubled each time: Windows refuses to replace a file that is mapped
_KEPT_PER_NAME = 3
_SUCCESSORS = 1000
_REMEDIES = {  # by why a name cannot be had
    "is a folder": "Rename that folder, or choose another name next time.",
    "is write-protected": "Allow writing to it, or choose another name next time.",
    "exists already": "Rename either; next time choose another name, or confirm to replace it.",
    "is in use": "Close what uses it, or choose another name next time.",
}


@dataclass(frozen=True)
class Publication:
    """A LoRA file to be made visible. `source` lies in the run's folder and stays there."""

    source: Path
    settings: Settings
    step: int
    final: bool = False  # the run's last file
    overwrite: bool = False  # the user agreed that a LoRA of this name is replaced
    family: str = "SD1"
    sample: Path | None = None  # the run's newest sample picture
    draw: bool = True  # the host may draw the picture now
    checkpoint: str = ""  # title of the checkpoint to draw it with


def publish(host: Host, item: Publication, tell: Tell) -> Published:
    """Copies the file to `<name>.safetensors`, merges the card, shows both; draws the picture when `item.final`.

    Over a LoRA of another run the old file is kept under `replaced/`, and only if `item.overwrite`; if not, or if it is
    write-protected or held open, the next free name is taken and told. Raises SettingsError for an impossible name,
    ExportError when the file cannot be written; card and picture that fail are told as Warned.
    """
    naming = item.settings.naming
    wanted = names.lora_path(host.lora_dir(), naming.output_name, naming.output_folder)
    for ending in (names.SUFFIX, ".json", ".png"):
        with explained(wanted.with_suffix(ending)):
            sweep(wanted.with_suffix(ending))
    path = _put(host, item, wanted, tell)
    _careful(lambda: _card(path, item, tell), tell)
    _careful(lambda: host.publish(path), tell)
    picture = thumbnails.show(host, item, path, tell)
    if picture:
        _careful(lambda: host.publish(path), tell)
    return Published(
        name=path.stem, path=path.relative_to(host.lora_dir()).as_posix(), step=item.step, thumbnail=picture
    )


def taken(host: Host, settings: Settings) -> bool:
    """Whether a LoRA of the recipe's name exists, so that the user has to be asked. Raises SettingsError."""
    return names.lora_path(host.lora_dir(), settings.naming.output_name, settings.naming.output_folder).exists()


def _put(host: Host, item: Publication, wanted: Path, tell: Tell) -> Path:
    """Under the first of name, name-2, ... that may be written."""
    reasons = []
    for number in range(1, _SUCCESSORS):
        path = names.successor(wanted, number)
        new, ours = not path.exists(), _same_run(path, item.source)
        reason = "" if new or ours else _refusal(path, item.overwrite and number == 1)
        reason = reason or _replaced(host, item, path, ours, tell)
        if not reason:
            if number > 1 and new:
                text = f"{wanted.name} {reasons[0]}, so this LoRA is {path.name}."
                tell(Warned(text=text, remedy=_REMEDIES[reasons[0]]))
            return path
        reasons.append(reason)
    raise ExportError(f"{wanted.name} {reasons[0]}, and so do its successors.", "Choose another name.")


def _refusal(path: Path, overwrite: bool) -> str:
    """Why an existing file may not be replaced, "" when it may."""
    if not path.is_file():
        return "is a folder"
    if not path.stat().st_mode & stat.S_IWUSR:
        return "is write-protected"
    return "" if overwrite else "exists already"


def _same_run(path: Path, source: Path) -> bool:
    """Both files are of one run, so that the newer may replace the older unasked."""
    try:
        session = lora_file.read_metadata(path).get("ss_session_id")
        return session not in (None, "None", "0") and session == lora_file.read_metadata(source).get("ss_session_id")
    except ExportError:  # nothing there, or somebody's damaged file: not ours
        return False


def _replaced(host: Host, item: Publication, path: Path, ours: bool, tell: Tell) -> str:
    """Copies the file to `path`; returns why not when somebody holds the old one open. Raises ExportError."""
    kept = None if ours or not path.exists() else _keep(path, host.data_dir() / "replaced")
    try:
        _copy(host, item.source, path)
    except ExportError as error:
        if kept is not None:
            discard(kept)
        if held(error.__cause__) and path.exists():
            return "is in use"
        raise ExportError(error.message, f"{error.remedy} The run's folder has it as {item.source.name}.") from error
    if kept is not None:
        tell(Phase(name="publish", text=f"The LoRA that was {path.name} before is kept as replaced/{kept.name}."))
    return ""


def _copy(host: Host, source: Path, path: Path) -> None:
    """Beside and renamed; the name in the metadata follows the file's, since prompts use either."""
    named = metadata.named(path.stem)
    old = lora_file.read_metadata(source)
    changes = {name: value for name, value in named.items() if old.get(name) != value}
    for attempt in range(_TRIES):
        if path.exists():
            host.release(path)
        try:
            return lora_file.copy(source, path, changes)
        except ExportError as error:
            in_use = held(error.__cause__) and path.exists()
            if not in_use or attempt == _TRIES - 1:
                raise
        time.sleep(_FIRST_WAIT * 2**attempt)
    raise AssertionError("the last attempt returns or raises")


def _keep(path: Path, folder: Path) -> Path:
    """A second name (or a copy) of the file at `path`, so that replacing it can be undone; the last few are kept."""
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        now = datetime.now().strftime("%Y%m%d-%H%M%S-%f")
        kept = folder / f"{path.stem}-{now}{path.suffix}"
        try:
            os.link(path, kept)
        except OSError:  # another disk, or a file system without links
            shutil.copy2(path, kept)
        dated = "[0-9]" * 8 + "-" + "[0-9]" * 6 + "-" + "[0-9]" * 6
        older = sorted(p for p in folder.iterdir() if p.match(f"*-{dated}{path.suffix}") and p.stem[:-23] == path.stem)
        for old in older[:-_KEPT_PER_NAME]:
            discard(old)
    return kept


def _card(path: Path, item: Publication, tell: Tell) -> None:
    note = card.merge(path.with_suffix(".json"), card.entries(item.settings.naming, item.family))
    if note:
        tell(Warned(text=note))


def _careful(step: Callable[[], None], tell: Tell) -> None:
    """The LoRA itself is saved: what fails now is told, and the run goes on."""
    try:
        step()
    except TrainLoraError as error:
        tell(Warned(text=error.message, remedy=error.remedy))
