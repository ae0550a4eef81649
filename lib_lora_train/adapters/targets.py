"""Which layers of a loan carry an adapter, what a file calls them, and in which order they stand there."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ..families.loan import Loan
from ..families.names import layers

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
    ("attentions", "resnets", "downsamplers", "upsamplers"),
    ("proj_in", "transformer_blocks", "proj_out"),
    ("attn1", "ff", "attn2"),
    ("to_q", "to_k", "to_v", "to_out"),
    ("net", "proj"),
    ("conv1", "time_emb_proj", "conv2", "conv_shortcut", "conv"),
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


def targets(loan: Loan, convolutions: bool) -> list[Target]:
    """All targets in file order. Without `convolutions` the attention blocks' (LierLa); with them also the ResNet
    blocks' and samplers' layers (C3Lier)."""
    found = []
    for owner, by_name in layers(loan).items():
        for name in sorted((n for n in by_name if _wanted(n, by_name[n], convolutions)), key=_place):
            module = by_name[name]
            key = f"{_PREFIXES[owner]}_{name.replace('.', '_')}"
            part = "unet" if owner == "unet" else "text_encoder"
            found.append(Target(key, part, module, wide=module.weight.dim() == 4 and module.kernel_size != (1, 1)))
    return sorted(found, key=lambda target: PARTS.index(target.part))


def _wanted(name: str, module: nn.Module, convolutions: bool) -> bool:
    if module.weight.dim() < 2:
        return False
    if name.startswith("text_model."):
        return ".layers." in name
    return ".attentions." in name or (convolutions and any(f".{kind}." in name for kind in _CONVOLUTION_BLOCKS))


def _place(name: str) -> list[int]:
    return [int(word) if word.isdigit() else _RANKS[word] for word in name.split(".")]
