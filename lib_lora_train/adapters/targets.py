"""Which layers of a loan carry an adapter, what a file calls them, and in which order they stand there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from ..families.keys_unet import ldm_names
from ..families.loan import Loan
from ..families.names import layers
from ..families.outline import Outline, outline_of
from ..settings.options_network import NetworkSettings

PARTS = ("text_encoder", "unet")  # in file order
_PREFIXES = {
    "unet": "lora_unet",
    "text_encoder": "lora_te",
    "text_encoder_1": "lora_te1",
    "text_encoder_2": "lora_te2",
}
# File order is sd-scripts' (golden 04_lora_modules), not that of the installed libraries.
_ORDER = (
    ("conv_in", "time_embedding", "down_blocks", "up_blocks", "mid_block", "conv_out"),
    ("time_embed", "input_blocks", "middle_block", "output_blocks", "out"),
    ("attentions", "resnets", "downsamplers", "upsamplers"),
    ("proj_in", "transformer_blocks", "proj_out", "norm"),
    ("attn1", "ff", "attn2"),
    ("to_q", "to_k", "to_v", "to_out"),
    ("net", "proj"),
    ("conv1", "time_emb_proj", "conv2", "conv_shortcut", "conv", "norm1", "norm2", "norm3"),
    ("in_layers", "emb_layers", "out_layers", "skip_connection", "op"),
    ("linear_1", "linear_2"),
    ("text_model", "encoder", "layers", "self_attn", "mlp"),
    ("k_proj", "v_proj", "q_proj", "out_proj", "fc1", "fc2"),
)
_RANKS = {word: rank for words in _ORDER for rank, word in enumerate(words)}


@dataclass(frozen=True)
class Target:
    """A layer that can carry an adapter."""

    key: str  # as in a file, e.g. lora_unet_mid_block_attentions_0_proj_in
    part: str  # unet | text_encoder
    module: nn.Module
    wide: bool  # a convolution over more than one pixel
    linear: bool = False  # a 1x1 convolution here, a linear layer in the checkpoint and the web UI (SD2)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.module.weight.shape)


@dataclass(frozen=True)
class Place:
    """A target as it is known without its layer; `owner` and `name` as in the outline, `group` one of `group_of`."""

    key: str
    part: str
    owner: str
    name: str
    shape: tuple[int, ...]

    @property
    def wide(self) -> bool:
        return len(self.shape) == 4 and self.shape[2:] != (1, 1)

    @property
    def group(self) -> str:
        return group_of(self.name, self.shape)


Wanted = Callable[[Place], bool]

# Groups of layers by what is in their canonical names, the first that fits.
_GROUPS = (
    (".attn1.", "self"),
    (".attn2.", "cross"),
    (".ff.", "feed-forward"),
    (".attentions.", "projection"),
    (".resnets.", "block"),
    (".downsamplers.", "block"),
    (".upsamplers.", "block"),
    ("conv_in", "ends"),
    ("conv_out", "ends"),
    ("time_embedding.", "time"),
    (".self_attn.", "text attention"),
    (".mlp.", "text mlp"),
)
_ATTENTION = {"self", "cross", "text attention"}
_TRANSFORMER = _ATTENTION | {"feed-forward", "projection", "text mlp"}
_PRESETS = {
    "attn-only": _ATTENTION,
    "attn-mlp": _TRANSFORMER,
    "attn-conv": _TRANSFORMER | {"block"},
    "convblock-only": {"block", "ends", "text attention", "text mlp"},
    "full-lin": _TRANSFORMER | {"block", "ends", "time"},
    "full": _TRANSFORMER | {"block", "ends", "time"},
    "ia3": _TRANSFORMER,
}
_OWN_PRESET = {"LoCon": "attn-conv", "LoHa": "attn-conv", "LoKr": "attn-conv", "IA3": "ia3"}  # others: attn-mlp
# Files for OpenCLIP need all four of an attention's layers, or A1111 applies none, so the text encoder has them all.
_IA3 = (".to_k", ".to_v", ".ff.net.2", "_proj", ".fc2")


def group_of(name: str, shape: tuple[int, ...]) -> str:
    """self, cross, feed-forward, projection (attention blocks), block (ResNet blocks and samplers), ends, time, norm,
    text attention, text mlp; empty for layers that nobody adapts."""
    if len(shape) < 2:
        return "norm" if ".attentions." in name or ".resnets." in name else ""
    if name.startswith("text_model.") and ".layers." not in name:
        return ""
    return next((group for mark, group in _GROUPS if mark in name), "")


def chosen(network: NetworkSettings) -> Wanted:
    """Whether a place is among those that the options name."""
    preset = network.network_preset
    preset = _OWN_PRESET.get(network.network_type, "attn-mlp") if preset == "auto" else preset
    groups = _PRESETS[preset] | ({"norm"} if network.train_norm else set())
    switches = {
        "self": network.train_self_attention,
        "cross": network.train_cross_attention,
        "feed-forward": network.train_feed_forward,
        "projection": network.train_projections,
    }
    groups = {group for group in groups if switches.get(group, True)}
    parts = {"unet": network.train_unet, "text_encoder": network.train_text_encoder}
    wide = preset != "full-lin" and network.network_type != "LoRA"  # 3x3 convolutions are what LoCon adds

    def wanted(place: Place) -> bool:
        if not parts[place.part] or place.group not in groups or (place.wide and not wide):
            return False
        return preset != "ia3" or place.group == "norm" or place.name.endswith(_IA3)

    return wanted


def anywhere(place: Place) -> bool:
    """All that any network can hang on."""
    return place.group != ""


def targets(loan: Loan, wanted: Wanted = anywhere) -> list[Target]:
    """All targets in file order."""
    return at(loan, places(outline_of(loan), wanted))


def at(loan: Loan, found: Sequence[Place]) -> list[Target]:
    """The layers at these places."""
    there, linear = layers(loan), loan.family.unet.convolutions

    def target(place: Place) -> Target:
        respelt = linear and place.part == "unet" and place.group == "projection"
        return Target(place.key, place.part, there[place.owner][place.name], place.wide, respelt)

    return [target(place) for place in found]


def places(outline: Outline, wanted: Wanted = anywhere) -> list[Place]:
    """As `targets`, for what is not loaded."""
    found = []
    for owner, shapes in outline.items():
        in_file = _in_file(owner, outline)
        for name in sorted((n for n in in_file if group_of(n, shapes[n])), key=lambda n: _place(in_file[n])):
            key = f"{_PREFIXES[owner]}_{in_file[name].replace('.', '_')}"
            place = Place(key, "unet" if owner == "unet" else "text_encoder", owner, name, tuple(shapes[name]))
            if wanted(place):
                found.append(place)
    return sorted(found, key=lambda place: PARTS.index(place.part))


def _in_file(owner: str, outline: Outline) -> dict[str, str]:
    """What files call the layers, by canonical name. U-Nets with two text encoders (SDXL) go by LDM's names: the web
    UIs lose a convolution of theirs under diffusers'."""
    if owner == "unet" and "text_encoder_2" in outline:
        return ldm_names(outline[owner])
    return {name: name for name in outline[owner]}


def _place(name: str) -> list[int]:
    return [int(word) if word.isdigit() else _RANKS[word] for word in name.split(".")]
