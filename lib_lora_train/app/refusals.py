"""Refusals that only requests know (busy, not there, not allowed), and which HTTP status an error becomes."""

from __future__ import annotations

from typing import Any

from ..errors import HostError, SettingsError, TrainLoraError


class Conflict(TrainLoraError):
    """Not now: a run is on, or the name is taken. `field` names what to change, if anything."""

    def __init__(self, message: str, remedy: str = "", field: str = ""):
        super().__init__(message, remedy)
        self.field = field


class NotFound(TrainLoraError):
    """No run, picture or LoRA of that name."""


class Unauthorized(TrainLoraError):
    """The web UI asks for a login which the request does not carry."""


class Forbidden(TrainLoraError):
    """A foreign origin, or a folder that may not be read from here."""

    def __init__(self, message: str, remedy: str = "", field: str = ""):
        super().__init__(message, remedy)
        self.field = field


# The first class that fits counts.
_STATUS: tuple[tuple[type[TrainLoraError], int], ...] = (
    (Unauthorized, 401),
    (Forbidden, 403),
    (NotFound, 404),
    (Conflict, 409),
    (HostError, 409),
    (SettingsError, 400),
    (TrainLoraError, 400),
)


def as_answer(error: TrainLoraError) -> tuple[int, dict[str, Any]]:
    """(HTTP status, `{error, remedy, field}`)."""
    status = next(code for kind, code in _STATUS if isinstance(error, kind))
    return status, {"error": error.message, "remedy": error.remedy, "field": getattr(error, "field", "")}
