"""LoRAs merged into the weights, and those kept in memory. (Files and cards: hosts/webui/loras.py.)"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from ..webui.loras import is_of, networks


def take_out(model: Any) -> None:
    """Make the weights those of the checkpoint again; needs the host's lock.

    The host leaves LoRAs merged after a picture, and notes in each module's `network_current_names` which. With none
    wanted its own function puts back its backup, exactly.
    """
    module = networks()
    if module is None:
        return
    _unload(module)
    with torch.no_grad():
        for layer in model.modules():
            if getattr(layer, "network_current_names", ()) != ():
                module.network_apply_weights(layer)


def let_go(path: Path) -> None:
    """Forget the contents of a LoRA file; merged weights stay as they are."""
    module = networks()
    if module is None:
        return
    for name in [name for name, net in module.networks_in_memory.items() if is_of(net, path)]:
        module.networks_in_memory.pop(name, None)


def _unload(module: ModuleType) -> None:
    """As the host does before a picture without LoRAs; also takes embeddings out that came inside LoRA files."""
    if module.loaded_networks:
        module.load_networks([])
    module.loaded_networks.clear()
