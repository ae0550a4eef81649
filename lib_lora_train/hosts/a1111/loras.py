"""LoRAs in the web UI: taking merged ones out of the weights, letting go of a file, showing a new one."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch


def take_out(model: Any) -> None:
    """Make the weights those of the checkpoint again; needs the host's lock.

    The host leaves LoRAs merged after a picture, and notes in each module's `network_current_names` which. With none
    wanted its own function puts back its backup, exactly.
    """
    networks = _networks()
    if networks is None:
        return
    _unload(networks)
    with torch.no_grad():
        for module in model.modules():
            if getattr(module, "network_current_names", ()) != ():
                networks.network_apply_weights(module)


def let_go(path: Path) -> None:
    """Forget the contents of a LoRA file; merged weights stay as they are (see `is_merged`)."""
    networks = _networks()
    if networks is None:
        return
    for name in [name for name, net in networks.networks_in_memory.items() if _is_of(net, path)]:
        networks.networks_in_memory.pop(name, None)


def is_merged(path: Path) -> bool:
    """Is what the file held (perhaps before it was replaced) part of the weights now?"""
    networks = _networks()
    return networks is not None and any(_is_of(net, path) for net in networks.loaded_networks)


def show(path: Path) -> None:
    """Make the file known, with its metadata and card as they are on disk now. Takes no lock."""
    networks = _networks()
    if networks is None:
        return
    _forget_cached(path.stem)
    networks.list_available_networks()
    for page in _pages():
        page.lister.reset()
        item = page.create_item(path.stem, enable_filter=False)
        if item is not None:
            page.items[path.stem] = item
            page.metadata[path.stem] = item.get("metadata") or {}
    _forget_texts()


def _networks() -> ModuleType | None:
    """The host's Lora extension; None when it is switched off."""
    networks = sys.modules.get("networks")
    return networks if hasattr(networks, "network_apply_weights") else None


def _unload(networks: ModuleType) -> None:
    """As the host does before a picture without LoRAs; also takes embeddings out that came inside LoRA files."""
    if networks.loaded_networks:
        networks.load_networks([])
    networks.loaded_networks.clear()


def _is_of(net: Any, path: Path) -> bool:
    return Path(net.network_on_disk.filename).resolve() == path.resolve()


def _forget_cached(name: str) -> None:
    """The host compares modification times, and believes its cache when a file is replaced within the clock's tick."""
    from modules import cache

    for subsection in ("safetensors-metadata", "hashes", "hashes-addnet"):
        cache.cache(subsection).pop(f"lora/{name}", None)


def _pages() -> list[Any]:
    from modules import ui_extra_networks

    return [page for page in ui_extra_networks.extra_pages if page.name == "lora"]


def _forget_texts() -> None:
    """Encoded prompts are kept by their words, although a LoRA of the same name may encode them differently now."""
    from modules import processing

    kinds = (processing.StableDiffusionProcessing, processing.StableDiffusionProcessingTxt2Img)
    for kind in (*kinds, processing.StableDiffusionProcessingImg2Img):
        for name in ("cached_c", "cached_uc", "cached_hr_c", "cached_hr_uc"):
            if name in vars(kind):
                setattr(kind, name, [None, None])
