"""The command line's recipes: other programs' as ours (`import`), ours without what is of this machine (`export`)."""

from __future__ import annotations

import sys
from pathlib import Path

from ..errors import SettingsError
from ..export.folder import explanation
from ..export.lora_file import read_metadata
from ..settings import imports, recipe
from ..settings.found import PATH_FIELDS, Found
from ..settings.from_metadata import recipe_of
from ..settings.load import from_mapping

_RECIPE = "recipe.toml"  # in a run's folder


def imported(path: Path) -> str:
    """The file's recipe as TOML; what is not carried over or said otherwise goes to the error output, line by line.

    Raises SettingsError, ExportError for a damaged LoRA.
    """
    found = _found(path)
    if not found.settings:
        raise SettingsError(f"{path.name} holds no recipe.", "Its metadata was removed, or it never had any.")
    for line in found.translated:
        print(f"translated: {line}", file=sys.stderr)
    for line in found.not_carried:
        print(f"not carried over: {line}", file=sys.stderr)
    return recipe.dumps(from_mapping(found.settings))


def exported(path: Path) -> str:
    """The recipe of a LoRA, a run's folder or a recipe file as TOML without folders, to hand on."""
    found = _found(path / _RECIPE if path.is_dir() else path)
    if found.source != "ours":
        raise SettingsError(f"{path.name} is no recipe of Train LoRA.", "Use `import` for other programs' recipes.")
    return recipe.dumps(from_mapping({k: v for k, v in found.settings.items() if k not in PATH_FIELDS}))


def _found(path: Path) -> Found:
    path = path.expanduser()
    if not path.is_file():
        raise SettingsError(f"There is no file {path}.", "Check the path.")
    if path.suffix.lower() == ".safetensors":
        return recipe_of(read_metadata(path))
    try:
        with path.open("rb") as file:
            content = file.read(imports.LARGEST + 1)
    except OSError as error:
        raise explanation(error) from error
    return imports.read(path.name, content, folders=True)
