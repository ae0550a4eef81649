"""Importing what a run needs while the user still chooses, so that the click on Train does not pay for it."""

from __future__ import annotations

import logging
import threading
from functools import lru_cache

from ..errors import TrainLoraError

log = logging.getLogger(__name__)


@lru_cache(maxsize=1)
def begin() -> threading.Thread:
    """Starts once per process; returns at once. What cannot be imported is told by the run that needs it."""
    thread = threading.Thread(target=_import, name="train-lora warm-up", daemon=True)
    thread.start()
    return thread


def _import() -> None:
    try:
        from ..engine import run  # noqa: F401 - torch and our own rooms
        from ..families.libraries import models

        models()
    except (ImportError, TrainLoraError) as error:
        log.info("Train LoRA: importing ahead of a run: %s", error)
