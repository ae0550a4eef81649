"""A recipe out of a LoRA file's metadata: ours whole, other trainers' as far as it goes; nothing in it is trusted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .found import PATH_FIELDS, Found, json_object, shown, valid
from .from_sd_scripts import read_sd_scripts
from .load import RECIPE_VERSION

__all__ = ["FOLDERS_KEY", "PATH_FIELDS", "RECIPE_KEY", "Found", "recipe_of"]
RECIPE_KEY, FOLDERS_KEY = "train_lora_recipe", "train_lora_folders"


def recipe_of(metadata: Mapping[str, Any]) -> Found:
    """Never raises: what cannot be read or is no valid value goes to `not_carried`."""
    recipe = json_object(metadata.get(RECIPE_KEY))
    if recipe is not None:
        return _ours(recipe, json_object(metadata.get(FOLDERS_KEY)) or {})
    found = read_sd_scripts(metadata)
    settings, refused = valid({name: value for name, value in found.values.items() if name not in PATH_FIELDS})
    if RECIPE_KEY in metadata:
        refused.insert(0, f"{RECIPE_KEY} (damaged)")
    return Found(settings, "other" if settings else "none", refused + found.lost, found.told)


def _ours(recipe: dict[str, Any], folders: dict[str, Any]) -> Found:
    version = recipe.pop("recipe_version", RECIPE_VERSION)
    settings, refused = valid({name: value for name, value in recipe.items() if name not in PATH_FIELDS})
    paths = [shown(name, folders[name]) for name in PATH_FIELDS if folders.get(name)]
    if version != RECIPE_VERSION:
        refused.insert(
            0, shown("recipe_version", version, "made by a newer version, update the extension for all of it")
        )
    return Found(settings, "ours", refused + paths)
