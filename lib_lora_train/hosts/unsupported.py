"""The host where nothing can be trained: it explains why, and its routes are guarded like any other's."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL.Image import Image

from ..errors import HostError
from ..families.loan import Identity, Loan
from .base import Guard, HostStatus, PictureRequest
from .guard import guard_of, within

log = logging.getLogger(__name__)


class UnsupportedHost:
    """`name` of the web UI, `problem` and `remedy` for the head line."""

    def __init__(self, name: str, problem: str, remedy: str):
        self.name, self._problem, self._remedy = name, problem, remedy

    def status(self) -> HostStatus:
        return HostStatus(self.name, "", problem=self._problem, remedy=self._remedy)

    @contextmanager
    def lend(self) -> Iterator[Loan]:
        raise self._error()
        yield

    @contextmanager
    def away(self, loan: Loan) -> Iterator[None]:
        raise self._error()
        yield

    def breathe(self, loan: Loan) -> bool:
        raise self._error()

    def txt2img(self, request: PictureRequest) -> list[Image]:
        raise self._error()

    def identity(self) -> Identity | None:
        return None

    def lora_dir(self) -> Path:
        return Path(getattr(_flags(), "lora_dir", None) or _data_path() / "models" / "Lora")

    def data_dir(self) -> Path:
        return _data_path() / "train-lora"

    def release(self, path: Path) -> None:
        """Nothing is held."""

    def publish(self, path: Path) -> None:
        """Nothing shows LoRAs here."""

    def guard(self) -> Guard:
        return guard_of(_flags())

    def allowed_folder(self, path: Path) -> bool:
        guard = self.guard()
        return not guard.open_to_network or guard.insecure_allowed or within(path, _data_path())

    def _error(self) -> HostError:
        return HostError(self._problem, self._remedy)


def _flags() -> Any:
    return getattr(_module("modules.shared"), "cmd_opts", None)


def _data_path() -> Path:
    return Path(getattr(_module("modules.paths"), "data_path", None) or Path.cwd())


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except Exception as error:  # noqa: BLE001 an unknown program's module may raise anything; it is of no use then
        log.debug("Train LoRA: %s cannot be loaded: %s", name, error)
        return None
