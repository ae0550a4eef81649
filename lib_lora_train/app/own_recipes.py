"""The user's own recipes: TOML files in the data folder, by name; what is deleted can be taken back."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import SettingsError
from ..export.folder import explained, written
from ..export.names import check_name
from ..settings import recipe
from ..settings.found import PATH_FIELDS
from ..settings.load import changed, from_mapping, to_mapping
from ..settings.schema import Settings
from .refusals import Conflict, NotFound

# What belongs to one LoRA and its pictures, not to a way of training.
OWN = (
    "output_name", "output_folder", "trigger_word", "activation_text", "training_comment", "train_data_dir",
    "reg_data_dir", "conditioning_data_dir", "network_weights",
)  # fmt: skip
_MOST = 500


def listing(data_dir: Path) -> list[dict[str, Any]]:
    """`{name, values, changed, problem}` by name; `values` are all but OWN, empty for a file that cannot be read."""
    return [_entry(path) for path in sorted(_folder(data_dir).glob("*.toml"), key=lambda p: p.stem.casefold())[:_MOST]]


def save(data_dir: Path, name: str, settings: Settings, replace: bool = False) -> None:
    """Raises Conflict when the name is taken and `replace` is not set, SettingsError for names no file can have."""
    path = _path(data_dir, name)
    if path.exists() and not replace:
        raise Conflict(f"There is a recipe “{path.stem}” already.", "Choose another name, or replace it.", "name")
    path.parent.mkdir(parents=True, exist_ok=True)
    with explained(path), written(path) as beside:
        beside.write_text(recipe.dumps(without_own(settings)), encoding="utf-8")


def rename(data_dir: Path, name: str, to: str) -> None:
    """Raises NotFound, Conflict, SettingsError."""
    old, new = _known(data_dir, name), _path(data_dir, to)
    if new.exists() and not (old.exists() and new.samefile(old)):  # on some disks only the case differs
        raise Conflict(f"There is a recipe “{new.stem}” already.", "Choose another name.", "name")
    with explained(new):
        os.replace(old, new)


def delete(data_dir: Path, name: str) -> str:
    """Puts the recipe aside; what `restore` takes it back by. Raises NotFound."""
    path = _known(data_dir, name)
    token = secrets.token_hex(8)
    aside = _aside(data_dir, token)
    with explained(aside):
        aside.mkdir(parents=True)
        os.replace(path, aside / path.name)
    return token


def restore(data_dir: Path, token: str) -> str:
    """Takes a deletion back; the recipe's name. Raises NotFound, Conflict when the name was taken meanwhile."""
    aside = _aside(data_dir, token) if re.fullmatch("[0-9a-f]{16}", token) else None
    found = next(aside.glob("*.toml"), None) if aside and aside.is_dir() else None
    if found is None:
        raise NotFound("That recipe cannot be taken back.", "It was taken back already, or its file is gone.")
    path = _folder(data_dir) / found.name
    if path.exists():
        raise Conflict(f"There is a recipe “{path.stem}” again.", "Rename that one first.", "name")
    with explained(path):
        os.replace(found, path)
        found.parent.rmdir()
    return path.stem


def text(settings: Settings) -> str:
    """The recipe as TOML to keep or to share: without folders, which mean nothing elsewhere."""
    return recipe.dumps(from_mapping(dict.fromkeys(PATH_FIELDS, ""), settings))


def without_own(settings: Settings) -> Settings:
    default = to_mapping(Settings())
    return from_mapping({name: default[name] for name in OWN}, settings)


def _entry(path: Path) -> dict[str, Any]:
    values: Mapping[str, Any] = {}
    problem = ""
    try:
        values = to_mapping(recipe.read(path))
    except SettingsError as error:  # edited by hand, or by a newer version
        problem = str(error)
    return {
        "name": path.stem,
        "values": {name: value for name, value in values.items() if name not in OWN},
        "changed": len(changed(from_mapping(values))) if values else 0,
        "problem": problem,
    }


def _folder(data_dir: Path) -> Path:
    return data_dir / "recipes"


def _aside(data_dir: Path, token: str) -> Path:
    return _folder(data_dir) / "deleted" / token


def _path(data_dir: Path, name: str) -> Path:
    return _folder(data_dir) / f"{check_name(name)}.toml"


def _known(data_dir: Path, name: str) -> Path:
    """Raises NotFound unless it is the plain name of a recipe."""
    path = _folder(data_dir) / f"{name}.toml"
    if path.name != f"{name}.toml" or path.parent != _folder(data_dir) or not path.is_file():
        raise NotFound(f"There is no recipe {name[:80]!r}.", "Load the list of recipes again.")
    return path
