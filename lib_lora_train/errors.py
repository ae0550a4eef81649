"""The one kind of error users see: what is wrong, by name, and what to do about it."""

from __future__ import annotations


class TrainLoraError(Exception):
    """A problem the user can understand and act on.

    `message` names the thing (file, option, value); `remedy` says what to do next.
    """

    def __init__(self, message: str, remedy: str = ""):
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class SettingsError(TrainLoraError):
    """A recipe or form with an unknown, ill-typed or impossible value; `field` is its name."""

    def __init__(self, message: str, remedy: str = "", field: str = ""):
        super().__init__(message, remedy)
        self.field = field


class DataError(TrainLoraError):
    """A folder, picture or caption that cannot be used; `field` names the setting if it is not the picture folder."""

    def __init__(self, message: str, remedy: str = "", field: str = ""):
        super().__init__(message, remedy)
        self.field = field


class HostError(TrainLoraError):
    """The web UI cannot lend its model now."""


class CheckpointSwitched(HostError):
    """The host holds another checkpoint than the one the run began on."""


class ExportError(TrainLoraError):
    """A file could not be written or made visible."""


class OutOfMemory(TrainLoraError):
    """The device ran out of memory; `remedy` proposes the setting to lower, `lower` holds it as settings."""

    def __init__(self, message: str, remedy: str, lower: dict | None = None):
        super().__init__(message, remedy)
        self.lower = lower or {}


class NotFinite(TrainLoraError):
    """Three losses in a row were NaN or infinite."""
