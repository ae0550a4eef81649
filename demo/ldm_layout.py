"""Names and shapes of every tensor of a checkpoint as LDM code builds it: SD1, SD2 and SDXL, for any sizes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

Entry = tuple[str, tuple[int, ...]]


@dataclass(frozen=True)
class Sizes:
    channels: int = 32  # of the U-Net's first level
    multipliers: tuple[int, ...] = (1, 2)
    attended: int = 2  # first levels that have attention
    blocks: int = 1  # ResNet blocks per level of the U-Net
    heads: int = 4  # of U-Net and text encoder
    context: int = 32
    text_layers: int = 3
    vae_channels: int = 32
    vae_multipliers: tuple[int, ...] = (1, 1, 1, 1)
    vae_blocks: int = 1
    vocabulary: int = 49408
    family: str = "SD1"
    head_width: int = 0  # channels per head of the U-Net; 0: `heads` on every level
    depths: tuple[int, ...] = ()  # transformer blocks per level, 0: no attention; (): 1 on `attended` levels
    openclip: OpenClip | None = None  # SD2's text encoder, SDXL's second

    @property
    def depth(self) -> tuple[int, ...]:
        return self.depths or tuple(int(level < self.attended) for level in range(len(self.multipliers)))

    @property
    def joint_context(self) -> int:
        """Width of the text that the U-Net attends to."""
        openclip = self.openclip.width if self.openclip else 0
        return {"SD1": self.context, "SD2": openclip, "SDXL": self.context + openclip}[self.family]


@dataclass(frozen=True)
class OpenClip:
    width: int = 64
    layers: int = 3
    pooled: int = 64  # width of what its projection gives
    arch: str = ""  # its name in OpenCLIP, if it has one


SIZE_NUMBERS = 6 * 256  # SDXL's embedded sizes
SD15 = Sizes(320, (1, 2, 4, 4), 3, 2, 8, 768, 12, 128, (1, 2, 4, 4), 2)
SD21 = replace(SD15, family="SD2", head_width=64, openclip=OpenClip(1024, 24, 1024, "ViT-H-14"))
SDXL10 = replace(
    SD15, family="SDXL", multipliers=(1, 2, 4), head_width=64, depths=(0, 2, 10),
    openclip=OpenClip(1280, 32, 1280, "ViT-bigG-14"),
)  # fmt: skip
# As many levels and blocks as the full models have: hosts find a LoRA's layers by counting them.
TINY_SD1 = Sizes(multipliers=(1, 1, 2, 2), attended=3, blocks=2)
TINY_SD2 = replace(TINY_SD1, family="SD2", head_width=8, openclip=OpenClip())
TINY_SDXL = replace(
    TINY_SD1, family="SDXL", multipliers=(1, 1, 2), head_width=8, depths=(0, 2, 3), openclip=OpenClip(pooled=48)
)
_TEXTS = {
    "SD1": {"cond_stage_model.transformer.text_model": "clip"},
    "SD2": {"cond_stage_model.model": "openclip"},
    "SDXL": {"conditioner.embedders.0.transformer.text_model": "clip", "conditioner.embedders.1.model": "openclip"},
}


def checkpoint(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """Shape by key, with the prefixes of a checkpoint file."""
    texts = {"clip": _text, "openclip": _openclip}
    parts = {
        "model.diffusion_model": _unet(sizes),
        "first_stage_model": _vae(sizes),
        **{prefix: texts[kind](sizes) for prefix, kind in _TEXTS[sizes.family].items()},
    }
    return {f"{prefix}.{name}": shape for prefix, entries in parts.items() for name, shape in entries}


def _layer(name: str, *weight: int) -> Iterator[Entry]:
    """A linear layer, convolution or norm with bias."""
    yield f"{name}.weight", weight
    yield f"{name}.bias", weight[:1]


def _unet(s: Sizes) -> Iterator[Entry]:
    time = 4 * s.channels
    yield from _layer("time_embed.0", time, s.channels)
    yield from _layer("time_embed.2", time, time)
    if s.family == "SDXL":
        yield from _layer("label_emb.0.0", time, s.openclip.pooled + SIZE_NUMBERS)
        yield from _layer("label_emb.0.2", time, time)
    yield from _layer("input_blocks.0.0", s.channels, 4, 3, 3)
    width, number, skips = s.channels, 1, [s.channels]
    for level, factor in enumerate(s.multipliers):
        for _ in range(s.blocks):
            yield from _block(f"input_blocks.{number}", width, factor * s.channels, s, s.depth[level])
            width, number = factor * s.channels, number + 1
            skips.append(width)
        if level < len(s.multipliers) - 1:
            yield from _layer(f"input_blocks.{number}.0.op", width, width, 3, 3)
            skips.append(width)
            number += 1
    yield from _block("middle_block", width, width, s, max(1, s.depth[-1]))
    yield from _resnet("middle_block.2", width, width, time)
    yield from _up(s, width, skips)
    yield from _layer("out.0", s.channels)
    yield from _layer("out.2", 4, s.channels, 3, 3)


def _up(s: Sizes, width: int, skips: list[int]) -> Iterator[Entry]:
    number = 0
    for level, factor in reversed(list(enumerate(s.multipliers))):
        for index in range(s.blocks + 1):
            depth = s.depth[level]
            yield from _block(f"output_blocks.{number}", width + skips.pop(), factor * s.channels, s, depth)
            width = factor * s.channels
            if level and index == s.blocks:
                yield from _layer(f"output_blocks.{number}.{1 + bool(depth)}.conv", width, width, 3, 3)
            number += 1


def _block(name: str, old: int, new: int, s: Sizes, depth: int) -> Iterator[Entry]:
    yield from _resnet(f"{name}.0", old, new, 4 * s.channels)
    if depth:
        yield from _attention(f"{name}.1", new, s, depth)


def _resnet(name: str, old: int, new: int, time: int) -> Iterator[Entry]:
    yield from _layer(f"{name}.in_layers.0", old)
    yield from _layer(f"{name}.in_layers.2", new, old, 3, 3)
    yield from _layer(f"{name}.emb_layers.1", new, time)
    yield from _layer(f"{name}.out_layers.0", new)
    yield from _layer(f"{name}.out_layers.3", new, new, 3, 3)
    if old != new:
        yield from _layer(f"{name}.skip_connection", new, old, 1, 1)


def _attention(name: str, width: int, s: Sizes, depth: int) -> Iterator[Entry]:
    ones = (1, 1) if s.family == "SD1" else ()
    yield from _layer(f"{name}.norm", width)
    yield from _layer(f"{name}.proj_in", width, width, *ones)
    for number in range(depth):
        yield from _transformer(f"{name}.transformer_blocks.{number}", width, s.joint_context)
    yield from _layer(f"{name}.proj_out", width, width, *ones)


def _transformer(name: str, width: int, context: int) -> Iterator[Entry]:
    for attention, source in (("attn1", width), ("attn2", context)):
        yield f"{name}.{attention}.to_q.weight", (width, width)
        yield f"{name}.{attention}.to_k.weight", (width, source)
        yield f"{name}.{attention}.to_v.weight", (width, source)
        yield from _layer(f"{name}.{attention}.to_out.0", width, width)
    yield from _layer(f"{name}.ff.net.0.proj", 8 * width, width)
    yield from _layer(f"{name}.ff.net.2", width, 4 * width)
    for norm in ("norm1", "norm2", "norm3"):
        yield from _layer(f"{name}.{norm}", width)


def _vae(s: Sizes) -> Iterator[Entry]:
    widths = [factor * s.vae_channels for factor in s.vae_multipliers]
    yield from _layer("encoder.conv_in", widths[0], 3, 3, 3)
    width = widths[0]
    for level, new in enumerate(widths):
        for index in range(s.vae_blocks):
            yield from _vae_resnet(f"encoder.down.{level}.block.{index}", width, new)
            width = new
        if level < len(widths) - 1:
            yield from _layer(f"encoder.down.{level}.downsample.conv", width, width, 3, 3)
    yield from _vae_ends("encoder", width, width, 8)
    yield from _layer("decoder.conv_in", width, 4, 3, 3)
    for level, new in reversed(list(enumerate(widths))):
        for index in range(s.vae_blocks + 1):
            yield from _vae_resnet(f"decoder.up.{level}.block.{index}", width, new)
            width = new
        if level:
            yield from _layer(f"decoder.up.{level}.upsample.conv", width, width, 3, 3)
    yield from _vae_ends("decoder", widths[-1], width, 3)
    yield from _layer("quant_conv", 8, 8, 1, 1)
    yield from _layer("post_quant_conv", 4, 4, 1, 1)


def _vae_ends(name: str, middle: int, last: int, outputs: int) -> Iterator[Entry]:
    yield from _vae_resnet(f"{name}.mid.block_1", middle, middle)
    yield from _layer(f"{name}.mid.attn_1.norm", middle)
    for part in ("q", "k", "v", "proj_out"):
        yield from _layer(f"{name}.mid.attn_1.{part}", middle, middle, 1, 1)
    yield from _vae_resnet(f"{name}.mid.block_2", middle, middle)
    yield from _layer(f"{name}.norm_out", last)
    yield from _layer(f"{name}.conv_out", outputs, last, 3, 3)


def _vae_resnet(name: str, old: int, new: int) -> Iterator[Entry]:
    yield from _layer(f"{name}.norm1", old)
    yield from _layer(f"{name}.conv1", new, old, 3, 3)
    yield from _layer(f"{name}.norm2", new)
    yield from _layer(f"{name}.conv2", new, new, 3, 3)
    if old != new:
        yield from _layer(f"{name}.nin_shortcut", new, old, 1, 1)


def _text(s: Sizes) -> Iterator[Entry]:
    width = s.context
    yield "embeddings.token_embedding.weight", (s.vocabulary, width)
    yield "embeddings.position_embedding.weight", (77, width)
    for number in range(s.text_layers):
        name = f"encoder.layers.{number}"
        for part in ("k", "v", "q", "out"):
            yield from _layer(f"{name}.self_attn.{part}_proj", width, width)
        yield from _layer(f"{name}.layer_norm1", width)
        yield from _layer(f"{name}.mlp.fc1", 4 * width, width)
        yield from _layer(f"{name}.mlp.fc2", width, 4 * width)
        yield from _layer(f"{name}.layer_norm2", width)
    yield from _layer("final_layer_norm", width)


def _openclip(s: Sizes) -> Iterator[Entry]:
    width = s.openclip.width
    yield "positional_embedding", (77, width)
    yield "text_projection", (width, s.openclip.pooled)
    yield "logit_scale", ()
    yield "token_embedding.weight", (s.vocabulary, width)
    for number in range(s.openclip.layers):
        name = f"transformer.resblocks.{number}"
        yield from _layer(f"{name}.ln_1", width)
        yield f"{name}.attn.in_proj_weight", (3 * width, width)
        yield f"{name}.attn.in_proj_bias", (3 * width,)
        yield from _layer(f"{name}.attn.out_proj", width, width)
        yield from _layer(f"{name}.ln_2", width)
        yield from _layer(f"{name}.mlp.c_fc", 4 * width, width)
        yield from _layer(f"{name}.mlp.c_proj", width, 4 * width)
    yield from _layer("ln_final", width)
