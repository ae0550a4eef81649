"""What can be changed of a run that is on: which options, and that their values make sense."""

from __future__ import annotations

from typing import Any

from ..errors import SettingsError
from ..sampling.prompts import requests
from ..settings.load import from_mapping, to_mapping
from ..settings.schema import Settings

CHANGEABLE = (
    "sample_prompts",
    "sample_negative",
    "sample_steps",
    "sample_cfg",
    "sample_every_n_steps",
    "sample_every_n_epochs",
    "save_every_n_steps",
    "save_every_n_epochs",
)


def checked(values: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """The values as the recipe has them. Raises SettingsError for other options and for what cannot be understood."""
    for name in values:
        if name not in CHANGEABLE:
            raise SettingsError(f"`{name}` cannot be changed while it trains.", "Stop, and train again with it.", name)
    new = from_mapping({**to_mapping(settings), **values})
    requests(new, 0)
    mapping = to_mapping(new)
    return {name: mapping[name] for name in values}
