"""What metadata tells about the network, in sd-scripts' and LyCORIS' names, so that other programs understand it."""

from __future__ import annotations

import json
from typing import Any

from ..settings.schema import NetworkSettings

_ALGORITHMS = {
    "LoRA": "lora", "LoCon": "locon", "LoHa": "loha", "LoKr": "lokr", "IA3": "ia3", "DyLoRA": "dylora",
    "GLoRA": "glora", "OFT": "diag-oft", "BOFT": "boft", "full": "full",
}  # fmt: skip
_SD_SCRIPTS = {"LoRA": "networks.lora", "LoCon": "networks.lora", "DyLoRA": "networks.dylora"}
_CONVOLUTIONS = ("LoCon", "LoHa", "LoKr")  # types that train them of themselves
# LyCORIS' names for our choices of layers, where it has them.
_PRESETS = {"convblock-only": "unet-convblock-only", "attn-conv": "full", "auto": "full"}
_SAME = (  # written under our name when they are not at their default
    "block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas", "block_lr_weight", "down_lr_weight",
    "mid_lr_weight", "up_lr_weight", "block_lr_zero_threshold", "loraplus_lr_ratio", "loraplus_unet_lr_ratio",
    "loraplus_text_encoder_lr_ratio", "rank_dropout", "module_dropout",
)  # fmt: skip
_SAME_LYCORIS = ("use_tucker", "train_norm", "factor", "decompose_both", "full_matrix", "constraint")
_DEFAULT = NetworkSettings()


def network(n: NetworkSettings) -> dict[str, Any]:
    """`network_*` entries. Arguments are there when there are any, as strings, with `dropout` added (golden
    07_training_runs)."""
    module = _module(n)
    args = _lycoris(n) if module == "lycoris.kohya" else _plain(n)
    args |= {name: str(getattr(n, name)) for name in _SAME if getattr(n, name) != getattr(_DEFAULT, name)}
    dropout = n.network_dropout or None
    return {
        "network_module": module,
        "network_dim": n.network_dim,
        "network_alpha": n.network_alpha or float(n.network_dim),
        "network_dropout": dropout,
        "scale_weight_norms": n.scale_weight_norms or None,
        **({"network_args": json.dumps({**args, "dropout": dropout})} if args else {}),
    }


def _module(n: NetworkSettings) -> str:
    """sd-scripts' own where it has such networks, else LyCORIS' for it."""
    lycoris = n.weight_decompose or n.use_tucker or n.train_norm or n.network_preset != "auto"
    return "lycoris.kohya" if lycoris else _SD_SCRIPTS.get(n.network_type, "lycoris.kohya")


def _plain(n: NetworkSettings) -> dict[str, str]:
    if n.network_type == "DyLoRA":
        return {"unit": str(n.dylora_unit)}
    return _convolutions(n) if n.network_type == "LoCon" else {}


def _lycoris(n: NetworkSettings) -> dict[str, str]:
    preset = n.network_preset
    if preset == "auto":
        preset = "ia3" if n.network_type == "IA3" else "full" if n.network_type in _CONVOLUTIONS else "attn-mlp"
    args = {"algo": _ALGORITHMS[n.network_type], "preset": _PRESETS.get(preset, preset)}
    args |= _convolutions(n) if args["preset"] in ("full", "unet-convblock-only") else {}
    if n.weight_decompose:
        args |= {"dora_wd": "True", "wd_on_output": "False"}
    if n.network_type == "DyLoRA":
        args["block_size"] = str(n.dylora_unit)
    return args | {name: str(getattr(n, name)) for name in _SAME_LYCORIS if getattr(n, name) != getattr(_DEFAULT, name)}


def _convolutions(n: NetworkSettings) -> dict[str, str]:
    return {"conv_dim": str(n.conv_dim), "conv_alpha": str(n.conv_alpha or float(n.conv_dim))}
