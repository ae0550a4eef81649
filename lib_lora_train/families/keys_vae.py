"""Key map of the VAE: LDM's AutoencoderKL to diffusers'."""

from __future__ import annotations

import re
from typing import Any

from ..errors import HostError
from .layout import Layout, Shapes, children, need

_RULES = [
    (r"\.mid\.block_1\.", ".mid_block.resnets.0."),
    (r"\.mid\.block_2\.", ".mid_block.resnets.1."),
    (r"\.mid\.attn_1\.norm\.", ".mid_block.attentions.0.group_norm."),
    (r"\.mid\.attn_1\.([qkv])\.", r".mid_block.attentions.0.to_\1."),
    (r"\.mid\.attn_1\.proj_out\.", ".mid_block.attentions.0.to_out.0."),
    (r"\.down\.(\d+)\.block\.", r".down_blocks.\1.resnets."),
    (r"\.down\.(\d+)\.downsample\.", r".down_blocks.\1.downsamplers.0."),
    (r"\.up\.(\d+)\.block\.", r".up_blocks.\1.resnets."),
    (r"\.up\.(\d+)\.upsample\.", r".up_blocks.\1.upsamplers.0."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
    (r"\.norm_out\.", ".conv_norm_out."),
]


def vae_layout(shapes: Shapes) -> Layout:
    """`shapes` by LDM key below `first_stage_model.`. Raises HostError for an architecture diffusers cannot express."""
    odd = next((key for key in shapes if re.search(r"\.(down|up)\.\d+\.attn\.", key)), None)
    if odd:
        raise HostError(f"The VAE has attention outside its middle (`{odd}`).", "Choose another VAE.")
    top = len(children(shapes, "decoder.up")) - 1
    names = {_target(key, top): key for key in shapes}
    return Layout(_config({name: shapes[key] for name, key in names.items()}), names)


def _target(key: str, top: int) -> str:
    for pattern, new in _RULES:
        key = re.sub(pattern, new, key)
    # LDM numbers the decoder's levels from the picture, diffusers from the latent
    return re.sub(r"\.up_blocks\.(\d+)\.", lambda found: f".up_blocks.{top - int(found[1])}.", key)


def _config(shapes: Shapes) -> dict[str, Any]:
    """Arguments of AutoencoderKL, from shapes by canonical name."""
    levels = [f"encoder.down_blocks.{level}" for level in children(shapes, "encoder.down_blocks")]
    channels = tuple(need(shapes, f"{level}.resnets.0.conv1.weight", "VAE")[0] for level in levels)
    return {
        "in_channels": need(shapes, "encoder.conv_in.weight", "VAE")[1],
        "out_channels": need(shapes, "decoder.conv_out.weight", "VAE")[0],
        "latent_channels": need(shapes, "post_quant_conv.weight", "VAE")[0],
        "block_out_channels": channels,
        "layers_per_block": len(children(shapes, "encoder.down_blocks.0.resnets")),
        "down_block_types": ("DownEncoderBlock2D",) * len(channels),
        "up_block_types": ("UpDecoderBlock2D",) * len(channels),
    }
