"""Which web UI this is, found by what it can do; where something is missing, a host that says what."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass

from .a1111 import A1111Host
from .base import Host
from .forge import ForgeHost
from .reforge import ReForgeHost
from .unsupported import UnsupportedHost

log = logging.getLogger(__name__)
Name = tuple[str, str]  # (module, what it must have)

_COMMON: tuple[Name, ...] = (
    ("modules.shared", "opts"),
    ("modules.shared", "cmd_opts"),
    ("modules.paths", "data_path"),
    ("modules.call_queue", "queue_lock"),
    ("modules.devices", "device"),
    ("modules.processing", "process_images"),
    ("modules.sd_models", "model_data"),
)


@dataclass(frozen=True)
class _Adapter:
    """`needs`: what it cannot do without. `lacks`: modules of web UIs that have all that, but hold their model
    elsewhere."""

    make: Callable[[], Host]
    needs: tuple[Name, ...]
    lacks: tuple[str, ...] = ()

    def missing(self) -> list[str]:
        found = [f"{module}.{name}" for module, name in (*_COMMON, *self.needs) if not _has(module, name)]
        return found + [f"a model that is not held by {module}" for module in self.lacks if _there(module)]


_ADAPTERS = (
    _Adapter(
        ForgeHost, (("modules.sd_models", "forge_model_reload"), ("backend.memory_management", "load_models_gpu"))
    ),
    _Adapter(
        ReForgeHost,
        (
            ("modules.sd_models", "reload_model_weights"),
            ("modules.sd_models", "unload_first_loaded_model"),
            ("modules.sd_vae", "loaded_vae_file"),
            ("modules.sd_text_encoder", "text_encoder_options"),
            ("modules_forge.forge_loader", "load_model_for_a1111"),
            ("ldm_patched.modules.model_management", "load_models_gpu"),
        ),
    ),
    _Adapter(
        A1111Host,
        (
            ("modules.sd_models", "reload_model_weights"),
            ("modules.sd_vae", "loaded_vae_file"),
            ("modules.sd_hijack", "model_hijack"),
        ),
        lacks=("modules_forge", "modules.modeldata"),
    ),
)
_RELATIVES = {  # known by a module of theirs: (name, why not)
    "ldm_patched": (
        "an older Forge or reForge, or Forge Classic",
        "It holds its models as Forge did before August 2024.",
    ),
    "modules.modeldata": ("SD.Next", "SD.Next holds its models in diffusers' pipelines."),
}
_REMEDY = (
    "Train LoRA works in AUTOMATIC1111's web UI 1.10, in Forge, Forge Neo and reForge; "
    "or on its own page: python dev.py demo. Here it can neither train nor show LoRAs."
)


def host() -> Host:
    """The adapter for the web UI this process is. Never raises: what cannot be used says so in its status."""
    lists = [(adapter, adapter.missing()) for adapter in _ADAPTERS]
    for adapter, missing in lists:
        if not missing:
            return adapter.make()
    for module, (name, why) in _RELATIVES.items():
        if _there(module):
            return UnsupportedHost(name, f"This is {name}. {why} Train LoRA cannot borrow from there yet.", _REMEDY)
    if not _has("modules.shared", "opts"):
        return UnsupportedHost("unknown", "This is no web UI that Train LoRA knows.", _REMEDY)
    least = min((missing for _, missing in lists), key=len)
    return UnsupportedHost("unknown", f"This web UI lacks what Train LoRA needs: {', '.join(least)}.", _REMEDY)


def _there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ModuleNotFoundError, ValueError):  # not even the package it would be in; or something put in its place
        return module in sys.modules


def _has(module: str, name: str) -> bool:
    try:
        return hasattr(importlib.import_module(module), name)
    except Exception as error:  # noqa: BLE001 an unknown program's module may raise anything; it is of no use then
        log.debug("Train LoRA: %s cannot be asked for %s: %s", module, name, error)
        return False
