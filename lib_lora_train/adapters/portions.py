"""Which parameters learn at which rate: per part, per block of the U-Net, and faster ones (LoRA+)."""

from __future__ import annotations

from collections import defaultdict

from ..settings.options_network import NetworkSettings
from .adapter_set import AdapterSet, Portion
from .blocks import BASE, block_of
from .plan import rates


def portions(adapters: AdapterSet, network: NetworkSettings) -> list[Portion]:
    """All trained parameters, text encoder first. Blocks whose rates a recipe does not tell apart are one portion.

    Names and factors as sd-scripts' groups (golden 05_block_weights). Raises SettingsError for lists that do not fit.
    """
    keys = [target.key for target, _ in adapters.layers]
    sdxl = any(
        key.startswith(("lora_te1_", "lora_te2_", "lora_unet_input_blocks_", "lora_unet_output_")) for key in keys
    )
    by_block = rates(network, sdxl)
    found: dict[tuple[str, str, float], list] = defaultdict(list)
    for target, layer in adapters.layers:
        block = block_of(target.key)
        rate = by_block.get(block, 1.0)
        name = f"unet_block{block}" if by_block and block not in (BASE, None) else target.part
        ratio = _ratio(network, target.part)
        for tensor, parameter in layer.tensors.items():
            faster = ratio != 1.0 and tensor in layer.late
            found[name + faster * " plus", target.part, rate * (ratio if faster else 1.0)].append(parameter)
    return [Portion(name, part, factor, parameters) for (name, part, factor), parameters in found.items()]


def _ratio(network: NetworkSettings, part: str) -> float:
    own = {"unet": network.loraplus_unet_lr_ratio, "text_encoder": network.loraplus_text_encoder_lr_ratio}
    return own[part] or network.loraplus_lr_ratio or 1.0
