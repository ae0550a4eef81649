"""What an import found: its type, and the check that lets only valid values into it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import SettingsError
from .load import from_mapping
from .schema import group_of

PATH_FIELDS = ("train_data_dir", "reg_data_dir", "conditioning_data_dir", "network_weights")
LONGEST = 1_000_000  # characters of a recipe inside a file's metadata
_LONGEST_TEXT = 20_000  # characters of one option


@dataclass(frozen=True)
class Found:
    """`settings` by field name, each valid on its own. `source`: ours, other (or the program's name), none.

    For people: `not_carried` names what the file tells but the recipe lacks, `ip_noise_gamma = 0.1`, with the reason
    after a colon where there is one to say; `translated` what is said otherwise here, `clip_skip = 0: clip_skip = 1`.
    """

    settings: dict[str, Any]
    source: str
    not_carried: list[str]
    translated: list[str] = field(default_factory=list)


def valid(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """(valid values as the schema types them, what is not as `name = value`)"""
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


def json_object(text: Any) -> dict[str, Any] | None:
    """The JSON object in `text`, None when it is none. Some readers of metadata have parsed it already."""
    if isinstance(text, Mapping):
        return dict(text)
    if not isinstance(text, str) or len(text) > LONGEST:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def shown(name: Any, value: Any, why: str = "") -> str:
    """`name = value`, cut to what fits a line, with the reason behind it."""
    return f"{str(name)[:60]} = {str(value)[:60]}" + (f": {why}" if why else "")
