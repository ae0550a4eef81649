"""A recipe out of a LoRA file's metadata: ours whole, other trainers' as far as it goes; nothing in it is trusted."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import SettingsError
from .from_sd_scripts import read_sd_scripts, shown
from .load import RECIPE_VERSION, from_mapping
from .schema import group_of

RECIPE_KEY, FOLDERS_KEY = "train_lora_recipe", "train_lora_folders"
PATH_FIELDS = ("train_data_dir", "reg_data_dir", "network_weights")  # never in a file, and never taken from one
_LONGEST_RECIPE, _LONGEST_TEXT = 1_000_000, 20_000  # characters


@dataclass(frozen=True)
class Found:
    """`settings` by field name, each valid on its own. `source`: ours, other, none. `not_carried` names what the file
    tells but the recipe lacks, for people: `ip_noise_gamma = 0.1`."""

    settings: dict[str, Any]
    source: str
    not_carried: list[str]


def recipe_of(metadata: Mapping[str, Any]) -> Found:
    """Never raises: what cannot be read or is no valid value goes to `not_carried`."""
    recipe = _object(metadata.get(RECIPE_KEY))
    if recipe is not None:
        return _ours(recipe, _object(metadata.get(FOLDERS_KEY)) or {})
    found, lost = read_sd_scripts(metadata)
    settings, refused = _valid(found)
    if RECIPE_KEY in metadata:
        refused.insert(0, f"{RECIPE_KEY} (damaged)")
    return Found(settings, "other" if settings else "none", refused + lost)


def _ours(recipe: dict[str, Any], folders: dict[str, Any]) -> Found:
    version = recipe.pop("recipe_version", RECIPE_VERSION)
    settings, refused = _valid({name: value for name, value in recipe.items() if name not in PATH_FIELDS})
    paths = [shown(name, folders[name]) for name in PATH_FIELDS if folders.get(name)]
    if version != RECIPE_VERSION:
        newer = ": made by a newer version, update the extension for all of it"
        refused.insert(0, shown("recipe_version", version) + newer)
    return Found(settings, "ours", refused + paths)


def _valid(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """(valid values as the schema types them, what is not)"""
    settings, refused = {}, []
    for name, value in values.items():
        try:
            settings[name] = _typed(name, value)
        except (SettingsError, ValueError):
            refused.append(shown(name, value))
    return settings, refused


def _typed(name: str, value: Any) -> Any:
    """Raises SettingsError or ValueError: no such field, or no value for it."""
    too_long = isinstance(value, str) and len(value) > _LONGEST_TEXT
    if too_long or isinstance(value, (list, dict)) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"no value for {name}")
    settings = from_mapping({name: value})
    return getattr(getattr(settings, group_of()[name]), name)


def _object(text: Any) -> dict[str, Any] | None:
    """The JSON object in `text`, None when it is none. Some readers of metadata have parsed it already."""
    if isinstance(text, Mapping):
        return dict(text)
    if not isinstance(text, str) or len(text) > _LONGEST_RECIPE:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
