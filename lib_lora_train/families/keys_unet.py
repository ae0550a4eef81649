"""Key map of the U-Net: LDM's names and shapes to diffusers' configuration and names, for any widths and depths."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import HostError
from .kinds import UnetKind
from .layout import Layout, Shapes, children, need

_ORDINARY = "Load an ordinary Stable Diffusion checkpoint."
SIZE_WIDTH = 256  # numbers that each size is embedded in
_SD1 = UnetKind(heads=8)
_STEMS = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
}
_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
# The tensor by which a part of a block is known, and where it goes. The transformers' inner names are the same.
_KINDS = {
    "in_layers.0.weight": "resnets",
    "proj_in.weight": "attentions",
    "op.weight": "downsamplers",
    "conv.weight": "upsamplers",
}
_SAMPLERS = ("downsamplers", "upsamplers")


def unet_layout(shapes: Shapes, heads: int = 0, kind: UnetKind | None = None) -> Layout:
    """`shapes` by LDM key below `model.diffusion_model.`; `heads` of the first attention cannot be seen in the weights
    (0: as the family has it), nor can `kind` (SD1's by default).

    Raises HostError for an architecture that diffusers' UNet2DConditionModel cannot express.
    """
    parts = {old: new for old, new in _STEMS.items() if f"{old}.weight" in shapes}
    parts |= _stage(shapes, "input_blocks", "down_blocks", 1)
    parts |= _middle(shapes)
    parts |= _stage(shapes, "output_blocks", "up_blocks", 0)
    names = {_target(key, parts): key for key in shapes}
    return Layout(_config({name: shapes[key] for name, key in names.items()}, heads, kind or _SD1), names)


def _kind(shapes: Shapes, part: str) -> str:
    for mark, kind in _KINDS.items():
        if f"{part}.{mark}" in shapes:
            return kind
    raise HostError(f"The U-Net holds a block of an unknown kind: `{part}`.", _ORDINARY)


def _stage(shapes: Shapes, old: str, new: str, first: int) -> dict[str, str]:
    """LDM counts blocks through, diffusers by level: a level ends where a block changes the resolution."""
    level = index = 0
    found: dict[str, str] = {}
    for block in children(shapes, old)[first:]:
        kinds = {part: _kind(shapes, f"{old}.{block}.{part}") for part in children(shapes, f"{old}.{block}")}
        for part, kind in kinds.items():
            number = 0 if kind in _SAMPLERS else index
            found[f"{old}.{block}.{part}"] = f"{new}.{level}.{kind}.{number}"
        ends = any(kind in _SAMPLERS for kind in kinds.values())
        level, index = (level + 1, 0) if ends else (level, index + 1)
    return found


def _middle(shapes: Shapes) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in children(shapes, "middle_block"):
        kind = _kind(shapes, f"middle_block.{part}")
        number = sum(f".{kind}." in name for name in found.values())
        found[f"middle_block.{part}"] = f"mid_block.{kind}.{number}"
    return found


def _target(key: str, parts: dict[str, str]) -> str:
    """diffusers' name of an LDM key."""
    pieces = key.split(".")
    for cut in (3, 2):
        old, tail = ".".join(pieces[:cut]), ".".join(pieces[cut:])
        if old in parts:
            return f"{parts[old]}.{_inner(parts[old], tail)}"
    raise HostError(f"The U-Net holds a tensor of an unknown kind: `{key}`.", _ORDINARY)


def _inner(part: str, tail: str) -> str:
    if ".resnets." in part:
        stem, _, kind = tail.rpartition(".")
        return f"{_RESNET.get(stem, stem)}.{kind}"
    return tail.replace("op.", "conv.", 1) if ".downsamplers." in part else tail


def _config(shapes: Shapes, heads: int, kind: UnetKind) -> dict[str, Any]:
    """Arguments of UNet2DConditionModel, from shapes by canonical name."""
    levels = [f"down_blocks.{level}" for level in children(shapes, "down_blocks")]
    channels = [need(shapes, f"{level}.resnets.0.conv1.weight", "U-Net")[0] for level in levels]
    layers = [len(children(shapes, f"{level}.resnets")) for level in levels]
    attended = [bool(children(shapes, f"{level}.attentions")) for level in levels]
    middle = "mid_block.attentions.0"
    conv_in = need(shapes, "conv_in.weight", "U-Net")
    if conv_in[0] not in channels[:1]:
        raise HostError("The U-Net's first channel multiplier is not 1.", "Such checkpoints cannot be trained.")
    return {
        "sample_size": 64,
        "in_channels": conv_in[1],
        "out_channels": need(shapes, "conv_out.weight", "U-Net")[0],
        "block_out_channels": tuple(channels),
        "layers_per_block": layers[0] if len(set(layers)) == 1 else tuple(layers),
        "down_block_types": tuple("CrossAttnDownBlock2D" if yes else "DownBlock2D" for yes in attended),
        "up_block_types": tuple("CrossAttnUpBlock2D" if yes else "UpBlock2D" for yes in reversed(attended)),
        "cross_attention_dim": need(shapes, f"{middle}.transformer_blocks.0.attn2.to_k.weight", "U-Net")[1],
        "transformer_layers_per_block": tuple(_depth(shapes, level) for level in levels),
        "attention_head_dim": _heads(heads, kind, channels, attended),  # diffusers' name for the number of heads
        "use_linear_projection": len(need(shapes, f"{middle}.proj_in.weight", "U-Net")) == 2 and not kind.convolutions,
        **_added(shapes),
    }


def _heads(first: int, kind: UnetKind, channels: list[int], attended: list[bool]) -> int | tuple[int, ...]:
    """One number for all levels, or one for each, in proportion to its channels."""
    if kind.heads:
        return first or kind.heads
    widest = channels[attended.index(True)] if True in attended else channels[-1]
    head_width = max(1, widest // first) if first else kind.head_width
    return tuple(max(1, width // head_width) for width in channels)


def _added(shapes: Shapes) -> dict[str, Any]:
    """SDXL's second input beside the timestep: the pooled text, and six sizes."""
    if "add_embedding.linear_1.weight" not in shapes:
        return {}
    return {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": SIZE_WIDTH,
        "projection_class_embeddings_input_dim": need(shapes, "add_embedding.linear_1.weight", "U-Net")[1],
    }


def _depth(shapes: Shapes, level: str) -> int:
    return max(1, len(children(shapes, f"{level}.attentions.0.transformer_blocks")))


def ldm_names(names: Iterable[str]) -> dict[str, str]:
    """LDM's name for each layer of a U-Net, by canonical name."""
    known = dict.fromkeys(names)
    parts = _blocks(known, "down_blocks", "input_blocks", 1) | _blocks(known, "up_blocks", "output_blocks", 0)
    parts |= {f"mid_block.resnets.{i}": f"middle_block.{2 * i}" for i in range(2)}
    parts |= {"mid_block.attentions.0": "middle_block.1"}
    resnet = {new: old for old, new in _RESNET.items()}
    found = {new: old for old, new in _STEMS.items()}
    for name in known:
        part = ".".join(name.split(".")[: 3 if name.startswith("mid_") else 4])
        tail = name[len(part) + 1 :]
        if part in parts:
            inner = resnet.get(tail, tail) if ".resnets." in part else tail
            inner = inner.replace("conv", "op") if ".downsamplers." in part else inner
            found[name] = f"{parts[part]}.{inner}"
    return {name: found[name] for name in known}


def _blocks(names: dict[str, Any], new: str, old: str, number: int) -> dict[str, str]:
    found: dict[str, str] = {}
    for level in (f"{new}.{level}" for level in children(names, new)):
        attended = bool(children(names, f"{level}.attentions"))
        for index in children(names, f"{level}.resnets"):
            found[f"{level}.resnets.{index}"] = f"{old}.{number}.0"
            found[f"{level}.attentions.{index}"] = f"{old}.{number}.1"
            number += 1
        if children(names, f"{level}.downsamplers"):
            found[f"{level}.downsamplers.0"] = f"{old}.{number}.0"
            number += 1
        found[f"{level}.upsamplers.0"] = f"{old}.{number - 1}.{1 + attended}"
    return found
