"""The model classes of diffusers and transformers, imported by one thread at a time and only when needed.

Both libraries import their parts lazily, by name; two threads that ask for one at the same moment can meet a half-made
module ("cannot import name ..."), and pictures are looked at and trained on in different threads.
"""

from __future__ import annotations

import threading
from importlib import metadata
from types import SimpleNamespace

from ..errors import HostError

_ONE_AT_A_TIME = threading.Lock()


def models() -> SimpleNamespace:
    """With UNet2DConditionModel, AutoencoderKL, CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection. The first
    call takes seconds. Raises HostError when the two are missing or do not fit what else is installed."""
    with _ONE_AT_A_TIME:
        try:
            from diffusers import AutoencoderKL, UNet2DConditionModel
            from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection
        except (ImportError, RuntimeError, AttributeError) as error:  # diffusers wraps what its parts raise
            raise _misfit(error) from error

        return SimpleNamespace(
            UNet2DConditionModel=UNet2DConditionModel,
            AutoencoderKL=AutoencoderKL,
            CLIPTextConfig=CLIPTextConfig,
            CLIPTextModel=CLIPTextModel,
            CLIPTextModelWithProjection=CLIPTextModelWithProjection,
        )


def _misfit(error: Exception) -> HostError:
    reason = str(error).strip().splitlines()[-1].strip() if str(error).strip() else type(error).__name__
    return HostError(
        f"{_installed('diffusers')} and {_installed('transformers')} do not fit what else is installed: {reason}.",
        "Install versions that Train LoRA is made for (docs/dependencies.md) with the web UI's Python, and restart.",
    )


def _installed(name: str) -> str:
    try:
        return f"{name} {metadata.version(name)}"
    except metadata.PackageNotFoundError:
        return f"{name} (missing)"
