"""Names and shapes of every tensor of a small SD1 checkpoint as LDM code builds it; sizes are arguments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

Entry = tuple[str, tuple[int, ...]]


@dataclass(frozen=True)
class Sizes:
    channels: int = 32  # of the U-Net's first level
    multipliers: tuple[int, ...] = (1, 2)
    blocks: int = 1  # ResNet blocks per level of the U-Net
    heads: int = 4  # of U-Net and text encoder
    context: int = 32
    text_layers: int = 3
    vae_channels: int = 32
    vae_levels: int = 4
    vocabulary: int = 49408


def checkpoint(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """Shape by key, with the prefixes of a checkpoint file."""
    parts = {
        "model.diffusion_model": _unet(sizes),
        "first_stage_model": _vae(sizes),
        "cond_stage_model.transformer.text_model": _text(sizes),
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
    yield from _layer("input_blocks.0.0", s.channels, 4, 3, 3)
    width, number, skips = s.channels, 1, [s.channels]
    for level, factor in enumerate(s.multipliers):
        for _ in range(s.blocks):
            yield from _block(f"input_blocks.{number}", width, factor * s.channels, s)
            width, number = factor * s.channels, number + 1
            skips.append(width)
        if level < len(s.multipliers) - 1:
            yield from _layer(f"input_blocks.{number}.0.op", width, width, 3, 3)
            skips.append(width)
            number += 1
    yield from _block("middle_block", width, width, s)
    yield from _resnet("middle_block.2", width, width, time)
    yield from _up(s, width, skips)
    yield from _layer("out.0", s.channels)
    yield from _layer("out.2", 4, s.channels, 3, 3)


def _up(s: Sizes, width: int, skips: list[int]) -> Iterator[Entry]:
    number = 0
    for level, factor in reversed(list(enumerate(s.multipliers))):
        for index in range(s.blocks + 1):
            yield from _block(f"output_blocks.{number}", width + skips.pop(), factor * s.channels, s)
            width = factor * s.channels
            if level and index == s.blocks:
                yield from _layer(f"output_blocks.{number}.2.conv", width, width, 3, 3)
            number += 1


def _block(name: str, old: int, new: int, s: Sizes) -> Iterator[Entry]:
    yield from _resnet(f"{name}.0", old, new, 4 * s.channels)
    yield from _attention(f"{name}.1", new, s.context)


def _resnet(name: str, old: int, new: int, time: int) -> Iterator[Entry]:
    yield from _layer(f"{name}.in_layers.0", old)
    yield from _layer(f"{name}.in_layers.2", new, old, 3, 3)
    yield from _layer(f"{name}.emb_layers.1", new, time)
    yield from _layer(f"{name}.out_layers.0", new)
    yield from _layer(f"{name}.out_layers.3", new, new, 3, 3)
    if old != new:
        yield from _layer(f"{name}.skip_connection", new, old, 1, 1)


def _attention(name: str, width: int, context: int) -> Iterator[Entry]:
    yield from _layer(f"{name}.norm", width)
    yield from _layer(f"{name}.proj_in", width, width, 1, 1)
    inner = f"{name}.transformer_blocks.0"
    for attention, source in (("attn1", width), ("attn2", context)):
        yield f"{inner}.{attention}.to_q.weight", (width, width)
        yield f"{inner}.{attention}.to_k.weight", (width, source)
        yield f"{inner}.{attention}.to_v.weight", (width, source)
        yield from _layer(f"{inner}.{attention}.to_out.0", width, width)
    yield from _layer(f"{inner}.ff.net.0.proj", 8 * width, width)
    yield from _layer(f"{inner}.ff.net.2", width, 4 * width)
    for norm in ("norm1", "norm2", "norm3"):
        yield from _layer(f"{inner}.{norm}", width)
    yield from _layer(f"{name}.proj_out", width, width, 1, 1)


def _vae(s: Sizes) -> Iterator[Entry]:
    width, last = s.vae_channels, s.vae_levels - 1
    for half, inputs, outputs in (("encoder", 3, 8), ("decoder", 4, 3)):
        yield from _layer(f"{half}.conv_in", width, inputs, 3, 3)
        yield from _vae_middle(f"{half}.mid", width)
        yield from _layer(f"{half}.norm_out", width)
        yield from _layer(f"{half}.conv_out", outputs, width, 3, 3)
    for level in range(s.vae_levels):
        yield from _vae_resnet(f"encoder.down.{level}.block.0", width)
        for index in range(2):
            yield from _vae_resnet(f"decoder.up.{level}.block.{index}", width)
        if level < last:
            yield from _layer(f"encoder.down.{level}.downsample.conv", width, width, 3, 3)
        if level > 0:
            yield from _layer(f"decoder.up.{level}.upsample.conv", width, width, 3, 3)
    yield from _layer("quant_conv", 8, 8, 1, 1)
    yield from _layer("post_quant_conv", 4, 4, 1, 1)


def _vae_middle(name: str, width: int) -> Iterator[Entry]:
    yield from _vae_resnet(f"{name}.block_1", width)
    yield from _layer(f"{name}.attn_1.norm", width)
    for part in ("q", "k", "v", "proj_out"):
        yield from _layer(f"{name}.attn_1.{part}", width, width, 1, 1)
    yield from _vae_resnet(f"{name}.block_2", width)


def _vae_resnet(name: str, width: int) -> Iterator[Entry]:
    for number in "12":
        yield from _layer(f"{name}.norm{number}", width)
        yield from _layer(f"{name}.conv{number}", width, width, 3, 3)


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
