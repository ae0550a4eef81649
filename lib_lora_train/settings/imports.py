"""Other programs' recipes as ours: whose it is shows the content, not the name."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import SettingsError
from . import from_command_line, from_easy_training_scripts, from_kohya_gui, from_onetrainer, from_toml
from .found import Found, shown
from .from_metadata import PATH_FIELDS, RECIPE_KEY, recipe_of
from .load import from_mapping, to_mapping
from .recipe import tomllib
from .schema import group_of, groups

LARGEST = 2 * 2**20  # bytes
_REMEDY = "Known are recipes of Train LoRA, kohya_ss, sd-scripts, Easy Training Scripts and OneTrainer."
_BINARY = (b"\x80", b"PK\x03\x04", b"\x1f\x8b", b"\x89PNG")
Reader = Callable[[Mapping[str, Any], bool], Found]


def read(name: str, content: str | bytes, folders: bool = False) -> Found:
    """The recipe in a file called `name`. `folders`: take folders from it too, since it is the user's own.

    Raises SettingsError naming the file: too large, no text, no format known here.
    """
    if len(content) > LARGEST:
        raise SettingsError(f"{_named(name)} is too large for a recipe.", _REMEDY)
    try:
        text = _text(content)
        return _tables(text, folders) or _command(text, folders)
    except SettingsError as error:
        raise SettingsError(f"{_named(name)}: {error.message}", error.remedy, error.field) from error
    except RecursionError as error:
        raise SettingsError(f"{_named(name)} is nested too deeply.", _REMEDY) from error


def _named(name: str) -> str:
    return (name or "The file").replace("\\", "/").split("/")[-1][:80]


def _text(content: str | bytes) -> str:
    """UTF-8, or UTF-16 with its mark, as Windows' editors and PowerShell write it."""
    if isinstance(content, str):
        return content.removeprefix("\ufeff")
    if content.startswith(_BINARY):
        raise SettingsError("this is no text.", "Pickled and packed files are never opened. " + _REMEDY)
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise SettingsError(f"this is no text ({error.reason}).", "Save it as UTF-8 text. " + _REMEDY) from error


def _tables(text: str, folders: bool) -> Found | None:
    """None when the text is neither JSON nor TOML."""
    values = _json(text) if text.lstrip()[:1] in ("{", "[") else None
    if values is None:
        try:
            values = tomllib.loads(text)
        except ValueError:
            return None
    if not isinstance(values, Mapping) or not values:
        raise SettingsError("there are no options in it.", _REMEDY)
    return _reader(values)(values, folders)


def _json(text: str) -> Any:
    """A TOML table may begin with a bracket as well."""
    try:
        return json.loads(text)
    except ValueError as error:
        if text.lstrip().startswith("{"):
            raise SettingsError(f"it is no valid JSON: {error}.", "Correct that line.") from error
        return None


def _command(text: str, folders: bool) -> Found:
    if not from_command_line.looks_like_one(text):
        raise SettingsError("it is no recipe that is known here.", _REMEDY)
    return from_command_line.read_command_line(text, folders)


def _reader(values: Mapping[str, Any]) -> Reader:
    """By what only one program writes, the surest first."""
    return next(read for fits, read in _FORMATS if fits(values))


def _is_ours(values: Mapping[str, Any]) -> bool:
    return "recipe_version" in values or all(name in groups() or name in group_of() for name in values)


def _ours(values: Mapping[str, Any], folders: bool) -> Found:
    settings = to_mapping(from_mapping(values))
    lost = []
    if not folders:
        paths = {name: settings.pop(name) for name in PATH_FIELDS}
        lost = [shown(name, path, "choose it on the page") for name, path in paths.items() if path]
    return Found(settings, "ours", lost)


def _is_metadata(values: Mapping[str, Any]) -> bool:
    return "__metadata__" in values or RECIPE_KEY in values or any(str(name).startswith("ss_") for name in values)


def _metadata(values: Mapping[str, Any], folders: bool) -> Found:
    inner = values.get("__metadata__", values)
    return recipe_of(inner if isinstance(inner, Mapping) else {})


def _is_datasets(values: Mapping[str, Any]) -> bool:
    return isinstance(values.get("datasets"), list)


_FORMATS: tuple[tuple[Callable[[Mapping[str, Any]], bool], Reader], ...] = (
    (_is_ours, _ours),
    (_is_metadata, _metadata),
    (from_kohya_gui.looks_like_one, lambda values, folders: from_kohya_gui.read_kohya_gui(values, folders)),
    (
        from_easy_training_scripts.looks_like_one,
        lambda values, folders: from_easy_training_scripts.read_easy_training_scripts(values, folders),
    ),
    (from_onetrainer.looks_like_one, lambda values, folders: from_onetrainer.read_onetrainer(values, folders)),
    (_is_datasets, lambda values, folders: from_toml.read_datasets(values, folders=folders)),
    (lambda values: True, lambda values, folders: from_toml.read_config(values, folders=folders)),
)
