"""Which folders hold the pictures: concept folders, flat folders, regularisation, and the ways to point beside them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import DataError
from ..settings.schema import DataSettings
from .types import LeftOut

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
REG = "reg"


@dataclass(frozen=True)
class PictureFolder:
    """A folder whose pictures are used. `concept` is its name without repeats; None: it is no concept folder."""

    path: Path
    repeats: int
    concept: str | None = None
    is_reg: bool = False


@dataclass
class Layout:
    folders: list[PictureFolder] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def parse_name(name: str) -> tuple[int, str] | None:
    """(repeats, concept) of a concept folder's name `<repeats>_<concept>`, None for other names.

    As sd-scripts reads them (golden 03_folders_and_files): repeats are an integer of at least 1 as Python reads it,
    the rest, underscores included, is the concept; a bare number has an empty one.
    """
    number, _, concept = name.partition("_")
    try:
        repeats = int(number)
    except ValueError:
        return None
    return (repeats, concept) if repeats >= 1 else None


def is_picture(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS and not path.name.startswith(".")


def entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """(sub-folders, files), sorted by name, without hidden folders. Raises DataError when the folder cannot be read."""
    try:
        with os.scandir(folder) as found:
            kinds = [(Path(entry.path), _is_folder(entry)) for entry in found]
    except OSError as error:
        raise DataError(f"Folder '{folder}' cannot be read: {error.strerror}.", "Check its permissions.") from error
    folders = sorted(path for path, is_folder in kinds if is_folder and not path.name.startswith("."))
    return folders, sorted(path for path, is_folder in kinds if not is_folder)


def find(settings: DataSettings) -> Layout:
    """Where the pictures are. Raises DataError when there is no such folder, or nothing in it looks like a data set."""
    layout = Layout()
    root = existing(settings.train_data_dir, "picture folder")
    base = _base(root, layout.notes)
    _add(layout, base, settings.dataset_repeats, is_reg=False)
    if settings.reg_data_dir.strip():
        try:
            _add_reg(layout, settings.reg_data_dir, (root, base))
        except DataError as error:
            raise DataError(error.message, error.remedy, "reg_data_dir") from error
    else:
        _add_reg_beside(layout, root, base)
    return layout


def reg_folder(settings: DataSettings) -> Path:
    """Where regularisation pictures belong: the chosen folder, else `reg` beside the concept folders or among the
    pictures; it need not exist. Raises DataError as `find`."""
    if settings.reg_data_dir.strip():
        return existing(settings.reg_data_dir, "regularisation folder")
    base = _base(existing(settings.train_data_dir, "picture folder"), [])
    return next((path for path in entries(base)[0] if path.name.lower() == REG), base / REG)


def existing(text: str, what: str) -> Path:
    """The folder a user typed, also with the quotes of "Copy as path". Raises DataError naming the nearest parent."""
    text = text.strip().strip("\"'").strip()
    if not text:
        raise DataError(f"No {what} is chosen.", "Type or paste the folder's path.")
    path = Path(os.path.abspath(os.path.expanduser(text)))
    if os.path.isdir(path):
        return path
    if os.path.exists(path):
        raise DataError(f"'{path}' is a file.", f"Choose the folder it lies in: {path.parent}")
    nearest = next((parent for parent in path.parents if os.path.exists(parent)), None)
    where = (
        f"'{nearest}' exists, '{path.relative_to(nearest).parts[0]}' in it does not." if nearest else "Check the drive."
    )
    raise DataError(f"The {what} '{path}' does not exist.", where)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a symbolic link that leads to itself
        return False


def _concepts(folders: Iterable[Path]) -> list[Path]:
    return [folder for folder in folders if parse_name(folder.name)]


def _base(root: Path, notes: list[str]) -> Path:
    """The folder to take pictures or concept folders from: `root`, or the only data set inside it."""
    folders, files = entries(root)
    if _concepts(folders) or any(map(is_picture, files)):
        return root
    candidates = [folder for folder in folders if folder.name.lower() != REG]
    sets = [folder for folder in candidates if _concepts(_look(folder)[0])]
    if len(sets) == 1:
        notes.append(f"'{root.name}' holds no concept folders itself; those in '{sets[0].name}' are used.")
        return sets[0]
    if sets:
        raise DataError(f"'{root}' holds several data sets: {_list(sets)}.", "Choose one of them.")
    pictures = [folder for folder in candidates if any(map(is_picture, _look(folder)[1]))]
    if pictures:
        raise DataError(
            f"'{root}' holds no pictures itself, but its sub-folders do: {_list(pictures)}.",
            f"Choose one of them, or name them as concept folders, such as '10_{pictures[0].name}'.",
        )
    kinds = ", ".join(e[1:] for e in EXTENSIONS)
    raise DataError(f"'{root}' holds no pictures, {_instead(folders, files)}.", f"Put {kinds} files into it.")


def _look(folder: Path) -> tuple[list[Path], list[Path]]:
    """`entries`, nothing for a folder that cannot be read: it is no candidate then."""
    try:
        return entries(folder)
    except DataError:
        return [], []


def _add(layout: Layout, base: Path, repeats: int, is_reg: bool) -> None:
    """The concept folders in `base`, or `base` itself."""
    folders, files = entries(base)
    own, concepts = parse_name(base.name), _concepts(folders)
    if concepts and not (own and any(map(is_picture, files))):
        layout.folders += [PictureFolder(path, *parse_name(path.name), is_reg) for path in concepts]
        reason = "lies beside the concept folders, not in one"
        layout.left_out += [LeftOut(path, reason) for path in files if is_picture(path)]
        unused = [path for path in folders if path not in concepts and path.name.lower() != REG]
        if unused:
            layout.notes.append(f"Not used, because not named '<repeats>_<concept>': {_list(unused)}.")
    elif own:
        layout.folders.append(PictureFolder(base, *own, is_reg))
        layout.notes.append(f"'{base.name}' is a concept folder itself: its pictures count {own[0]} times each.")
    else:
        layout.folders.append(PictureFolder(base, repeats, is_reg=is_reg))


def _add_reg(layout: Layout, text: str, others: tuple[Path, Path]) -> None:
    reg = existing(text, "regularisation folder")
    if reg in others:
        raise DataError(f"'{reg}' is both picture folder and regularisation folder.", "Choose another one.")
    _add(layout, _base(reg, layout.notes), 1, is_reg=True)


def _add_reg_beside(layout: Layout, root: Path, base: Path) -> None:
    """`reg/` among the concept folders, or beside the folder that holds them."""
    found = [path for parent in (base, root) for path in entries(parent)[0] if path.name.lower() == REG]
    if found:
        try:
            _add(layout, _base(found[0], layout.notes), 1, is_reg=True)
        except DataError as error:
            layout.notes.append(f"No regularisation: {error.message}")
    elif parse_name(base.name) and any(p.name.lower() == REG for p in _look(base.parent)[0]):
        layout.notes.append(f"The regularisation pictures in '{REG}' are not used; choose '{base.parent}' to use them.")


def _list(paths: list[Path]) -> str:
    names = [f"'{path.name}'" for path in paths[:5]]
    return ", ".join(names) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")


def _instead(folders: list[Path], files: list[Path]) -> str:
    kinds = sorted({path.suffix.lower() or path.name for path in files})[:5] + ["folders"] * bool(folders)
    return "only " + ", ".join(kinds) if kinds else "it is empty"
