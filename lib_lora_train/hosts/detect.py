"""Which web UI this is, found by what it can do; where something is missing, a host that says what."""

from __future__ import annotations

import importlib
import importlib.util

from .a1111 import A1111Host
from .base import Host
from .unsupported import UnsupportedHost

# What the A1111 adapter cannot do without: (module, name)
_A1111 = (
    ("modules.shared", "opts"),
    ("modules.shared", "cmd_opts"),
    ("modules.paths", "data_path"),
    ("modules.call_queue", "queue_lock"),
    ("modules.devices", "device"),
    ("modules.processing", "process_images"),
    ("modules.sd_models", "model_data"),
    ("modules.sd_models", "reload_model_weights"),
    ("modules.sd_vae", "loaded_vae_file"),
    ("modules.sd_hijack", "model_hijack"),
)
_FORGE = ("modules_forge", "ldm_patched")
_REMEDY = "Train LoRA works in AUTOMATIC1111's web UI 1.10, or on its own page: python dev.py demo."


def host() -> Host:
    """The adapter for the web UI this process is. Never raises: what cannot be used says so in its status."""
    if any(_there(name) for name in _FORGE):
        return UnsupportedHost("Forge", "Forge's models cannot be borrowed yet.", _REMEDY)
    missing = [f"{module}.{name}" for module, name in _A1111 if not _has(module, name)]
    if not missing:
        return A1111Host()
    if missing[0].startswith("modules.shared"):
        return UnsupportedHost("unknown", "This is no web UI that Train LoRA knows.", _REMEDY)
    return UnsupportedHost("unknown", f"This web UI lacks what Train LoRA needs: {', '.join(missing)}.", _REMEDY)


def _there(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _has(module: str, name: str) -> bool:
    try:
        return hasattr(importlib.import_module(module), name)
    except ImportError:
        return False
