"""Which layers of a loan carry an adapter, what a file calls them, and in which order they stand there."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ..families.keys_unet import ldm_names
from ..families.loan import Loan
from ..families.names import layers
from ..families.outline import Outline, outline_of

PARTS = ("text_encoder", "unet")  # in file order
_PREFIXES = {
    "unet": "lora_unet",
    "text_encoder": "lora_te",
    "text_encoder_1": "lora_te1",
    "text_encoder_2": "lora_te2",
}
# File order is sd-scripts' (golden 04_lora_modules), not that of the installed libraries.
_ORDER = (
    ("down_blocks", "up_blocks", "mid_block"),
    ("input_blocks", "middle_block", "output_blocks"),
    ("attentions", "resnets", "downsamplers", "upsamplers"),
    ("proj_in", "transformer_blocks", "proj_out"),
    ("attn1", "ff", "attn2"),
    ("to_q", "to_k", "to_v", "to_out"),
    ("net", "proj"),
    ("conv1", "time_emb_proj", "conv2", "conv_shortcut", "conv"),
    ("in_layers", "emb_layers", "out_layers", "skip_connection", "op"),
    ("text_model", "encoder", "layers", "self_attn", "mlp"),
    ("k_proj", "v_proj", "q_proj", "out_proj", "fc1", "fc2"),
)
_RANKS = {word: rank for words in _ORDER for rank, word in enumerate(words)}
_CONVOLUTION_BLOCKS = ("resnets", "downsamplers", "upsamplers")


@dataclass(frozen=True)
class Target:
    """A layer that can carry an adapter."""

    key: str  # as in a file, e.g. lora_unet_mid_block_attentions_0_proj_in
    part: str  # unet | text_encoder
    module: nn.Module
    wide: bool  # a convolution over more than one pixel

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.module.weight.shape)


@dataclass(frozen=True)
class Place:
    """A target as it is known without its layer; `owner` and `name` as in the outline."""

    key: str
    part: str
    owner: str
    name: str
    shape: tuple[int, ...]

    @property
    def wide(self) -> bool:
        return len(self.shape) == 4 and self.shape[2:] != (1, 1)


def targets(loan: Loan, convolutions: bool) -> list[Target]:
    """All targets in file order. Without `convolutions` the attention blocks' (LierLa); with them also the ResNet
    blocks' and samplers' layers (C3Lier)."""
    found = layers(loan)
    return [Target(p.key, p.part, found[p.owner][p.name], p.wide) for p in places(outline_of(loan), convolutions)]


def places(outline: Outline, convolutions: bool) -> list[Place]:
    """As `targets`, for what is not loaded."""
    found = []
    for owner, shapes in outline.items():
        by_file_name = {in_file: name for name, in_file in _in_file(owner, outline).items()}
        for in_file in sorted((f for f, n in by_file_name.items() if _wanted(n, shapes[n], convolutions)), key=_place):
            key, name = f"{_PREFIXES[owner]}_{in_file.replace('.', '_')}", by_file_name[in_file]
            found.append(Place(key, "unet" if owner == "unet" else "text_encoder", owner, name, tuple(shapes[name])))
    return sorted(found, key=lambda place: PARTS.index(place.part))


def _in_file(owner: str, outline: Outline) -> dict[str, str]:
    """What files call the layers, by canonical name. U-Nets with two text encoders (SDXL) go by LDM's names: the web
    UIs lose a convolution of theirs under diffusers'."""
    if owner == "unet" and "text_encoder_2" in outline:
        return ldm_names(outline[owner])
    return {name: name for name in outline[owner]}


def _wanted(name: str, shape: tuple[int, ...], convolutions: bool) -> bool:
    if len(shape) < 2:
        return False
    if name.startswith("text_model."):
        return ".layers." in name
    return ".attentions." in name or (convolutions and any(f".{kind}." in name for kind in _CONVOLUTION_BLOCKS))


def _place(name: str) -> list[int]:
    return [int(word) if word.isdigit() else _RANKS[word] for word in name.split(".")]
