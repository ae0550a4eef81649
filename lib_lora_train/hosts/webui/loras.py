"""The host's Lora extension: which files it has merged, and showing a new one."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from ...errors import HostError


def networks() -> ModuleType | None:
    """The extension's module; None when it is switched off."""
    module = sys.modules.get("networks")
    return module if hasattr(module, "list_available_networks") else None


def is_of(net: Any, path: Path) -> bool:
    """Is `net`, a LoRA that the extension has loaded, the file at `path`?"""
    return Path(net.network_on_disk.filename).resolve() == path.resolve()


def is_merged(path: Path) -> bool:
    """Is what the file held (perhaps before it was replaced) part of the weights now?"""
    module = networks()
    return module is not None and any(is_of(net, path) for net in module.loaded_networks)


def show(path: Path) -> None:
    """Make the file known, with its metadata and card as they are on disk now. Takes no lock."""
    module = networks()
    if module is None:
        return
    _forget_cached(path.stem)
    module.list_available_networks()
    for page in _pages():
        page.lister.reset()
        item = page.create_item(path.stem, enable_filter=False)
        if item is not None:
            page.items[path.stem] = item
            page.metadata[path.stem] = item.get("metadata") or {}
    _forget_texts()


@contextmanager
def named(files: Mapping[str, Path]) -> Iterator[None]:
    """Inside the block prompts can call these files by the names given; no card shows them. Needs the host's lock.

    Raises HostError when the extension is switched off.
    """
    module = networks()
    if files and module is None:
        raise HostError("The web UI's Lora extension is switched off.", "Switch it on, then try again.")
    tables = () if module is None else (module.available_networks, module.available_network_aliases)
    for name, path in files.items():
        _forget_cached(name)
        entry = sys.modules["network"].NetworkOnDisk(name, str(path))
        for table in tables:
            table[name] = entry
    try:
        yield
    finally:
        for name in files:
            for table in tables:
                table.pop(name, None)
            _forget_cached(name)


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
                setattr(kind, name, [None] * len(vars(kind)[name]))
