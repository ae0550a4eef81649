"""Recipes as TOML text: one table per group, readable and editable by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import tomli_w

from ..errors import SettingsError
from .load import RECIPE_VERSION, from_mapping
from .schema import Settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def dumps(settings: Settings) -> str:
    """The whole recipe, also what equals its default, so that a later version's defaults change nothing in it."""
    return tomli_w.dumps({"recipe_version": RECIPE_VERSION, **msgspec.to_builtins(settings)})


def loads(text: str) -> Settings:
    """Raises SettingsError for text that is no TOML and for whatever `from_mapping` refuses."""
    try:
        mapping = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, and numbers or nests that Python refuses
        raise SettingsError(f"The recipe is not valid TOML: {error}.", "Correct that line.") from error
    return from_mapping(mapping)


def read(path: Path) -> Settings:
    """Raises SettingsError naming the file."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise SettingsError(f"There is no recipe {path}.", "Check the path.") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} cannot be read: {error}.", "Save it as UTF-8 text.") from error
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror or error}.", "Name a recipe file.") from error
    try:
        return loads(text)
    except SettingsError as error:
        raise SettingsError(f"{path.name}: {error.message}", error.remedy, error.field) from error
