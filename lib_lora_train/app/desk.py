"""What every route works with: the host, the runner, the data sets; and one request's values with their types."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
from starlette.responses import Response

from ..errors import SettingsError
from ..hosts.base import Host
from ..settings.load import from_mapping
from ..settings.schema import Settings
from .datasets import DataSets
from .jobs import JobRunner

T = TypeVar("T")


@dataclass(frozen=True)
class Desk:
    """What the routes work with."""

    host: Host
    runner: JobRunner
    sets: DataSets = field(default_factory=DataSets)


@dataclass(frozen=True)
class Ask:
    """One request: its body (JSON) or query as a mapping."""

    values: dict[str, Any]

    def text(self, name: str) -> str:
        value = self.values.get(name, "")
        if not isinstance(value, str):
            raise SettingsError(f"`{name}` has to be a text.", "", name)
        return value

    def number(self, name: str, default: int) -> int:
        try:
            return int(self.values.get(name, default))
        except (TypeError, ValueError) as error:
            raise SettingsError(f"`{name}` has to be a whole number.", "", name) from error

    def settings(self) -> Settings:
        return from_mapping(self.values.get("settings", {}))

    def as_a(self, kind: type[T]) -> T:
        """The values as the struct `kind`. Raises SettingsError saying what does not fit."""
        try:
            return msgspec.convert(self.values, kind)
        except msgspec.ValidationError as error:
            raise SettingsError(f"The request does not fit: {error}.", "Reload the page.") from error


Handler = Callable[[Desk, Ask], "dict[str, Any] | Response"]


def picture(content: bytes, media_type: str) -> Response:
    headers = {"Cache-Control": "private, max-age=86400", "X-Content-Type-Options": "nosniff"}
    return Response(content, media_type=media_type, headers=headers)
