"""Values per block of the U-Net: which block a module lies in, and what lists and names of values mean.

Blocks are numbered as sd-scripts does (golden 05_block_weights): SD1 and SD2 IN00-IN11 are 0-11, MID 12, OUT00-OUT11
13-24; SDXL 0 embeddings, 1-9 IN00-IN08, 10-12 MID, 13-21 OUT00-OUT08, 22 the last layer. BASE is the text encoders.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..errors import SettingsError

BASE = -1
_INSIDE = re.compile(r"lora_unet_(down|up)_blocks_(\d+)_(attentions|resnets|downsamplers|upsamplers)_(\d+)_")
_INSIDE_LDM = re.compile(r"lora_unet_(input|middle|output)_blocks?_(\d+)_")
_FIRST_LDM = {"input": 1, "middle": 10, "output": 13}


def block_of(key: str) -> int | None:
    """Of a module by its name in a file: its block, BASE for text encoders, None for layers outside all blocks."""
    if key.startswith("lora_te"):
        return BASE
    if found := _INSIDE_LDM.match(key):
        return _FIRST_LDM[found[1]] + int(found[2])
    if key.startswith(("lora_unet_time_embed_", "lora_unet_label_emb_")):
        return 0
    if key.startswith("lora_unet_out_"):
        return 22
    if key.startswith("lora_unet_mid_block_"):
        return 12
    if not (found := _INSIDE.match(key)):
        return None
    level, part, index = int(found[2]), found[3], int(found[4])
    index = 2 if part in ("downsamplers", "upsamplers") else index
    return 3 * level + index + (1 if found[1] == "down" else 13)


@dataclass(frozen=True)
class Layout:
    """Of a family: which blocks each position of a list of so many values means, and its parts for rate curves."""

    lists: Mapping[int, Sequence[Sequence[int]]]
    down: Sequence[int]
    mid: Sequence[int]
    up: Sequence[int]
    attention_only: Sequence[int]  # lengths of lists that leave out blocks without attention


def _singles(*numbers: int) -> list[list[int]]:
    return [[number] for number in numbers]


_SD = Layout(
    lists={
        25: _singles(*range(25)),
        26: _singles(BASE, *range(25)),
        17: _singles(BASE, 1, 2, 4, 5, 7, 8, 12, *range(16, 25)),
    },
    down=range(12),
    mid=[12],
    up=range(13, 25),
    attention_only=[17],
)
_SDXL = Layout(
    lists={
        23: _singles(*range(23)),
        20: [*_singles(BASE, *range(1, 10)), [10, 11, 12], *_singles(*range(13, 22))],
        12: [*_singles(BASE, 5, 6, 8, 9), [10, 11, 12], *_singles(*range(13, 19))],
    },
    down=range(1, 10),
    mid=[10, 11, 12],
    up=range(13, 22),
    attention_only=[12],
)


def layout(sdxl: bool) -> Layout:
    return _SDXL if sdxl else _SD


def values(text: str, field: str, where: Layout, convolutions: bool) -> dict[int, float]:
    """By block, of a list `1, 0.5, ...` in one of the layouts. Blocks it does not name are missing.

    Raises SettingsError naming `field`: no numbers, or not so many as any layout of the family has.
    """
    numbers = _numbers(text, field)
    if len(numbers) not in where.lists:
        raise SettingsError(
            f"{field} has {len(numbers)} values; this family has {_lengths(where.lists)}.", _spelt(where), field
        )
    if convolutions and len(numbers) in where.attention_only:
        longer = sorted(set(where.lists) - set(where.attention_only))
        raise SettingsError(
            f"{field} has {len(numbers)} values, which leaves out blocks without attention; this network trains them.",
            f"Give {_lengths(longer)} values, or a network without convolutions.",
            field,
        )
    places = where.lists[len(numbers)]
    return {block: number for blocks, number in zip(places, numbers, strict=True) for block in blocks}


def _lengths(lengths: Sequence[int] | Mapping[int, object]) -> str:
    *most, last = map(str, sorted(lengths))
    return f"{', '.join(most)} or {last}" if most else last


def _spelt(where: Layout) -> str:
    names = {25: "IN00-11, MID, OUT00-11", 26: "BASE before these", 17: "BASE and the blocks with attention"}
    names |= {23: "sd-scripts' blocks of SDXL", 20: "BASE, IN00-08, MID, OUT00-08", 12: "BASE and those with attention"}
    return "; ".join(f"{length}: {names[length]}" for length in sorted(where.lists)) + "."


def _numbers(text: str, field: str) -> list[float]:
    """Empty places are 0, as in sd-scripts."""
    try:
        numbers = [float(item) if item.strip() else 0.0 for item in text.split(",")]
    except ValueError as error:
        raise SettingsError(f"{field} is no list of numbers: {text[:80]}.", "Write 1, 0.5, 0.", field) from error
    if not all(math.isfinite(number) for number in numbers):
        raise SettingsError(f"{field} holds a number that is not finite.", "Write 1, 0.5, 0.", field)
    return numbers


# What part of a full rate the blocks in a row get, from the first (0) to the last (1).
_CURVES: dict[str, Callable[[float], float]] = {
    "cosine": lambda t: math.sin(math.pi / 2 * (1 - t)),
    "sine": lambda t: math.sin(math.pi / 2 * t),
    "linear": lambda t: t,
    "reverse_linear": lambda t: 1 - t,
    "zeros": lambda t: 0.0,
}
_REST = 0.25  # of the rate, for blocks that a preset does not mean


def _only(*wanted: str, rest: float = 0.0) -> Callable[[str], float]:
    return lambda name: 1.0 if name.startswith(wanted) else rest


# The guides': IN is composition and posture, OUT colour and texture, OUT04-06 eyes and faces.
PRESETS: dict[str, Callable[[str], float]] = {
    "all": _only(""),
    "in": _only("BASE", "IN"),
    "out": _only("BASE", "OUT"),
    "style": _only("BASE", "OUT", rest=_REST),
    "concept": _only("BASE", "IN", "MID", rest=_REST),
    "face": _only("BASE", "OUT04", "OUT05", "OUT06", rest=_REST),
}


def preset(name: str, where: Layout) -> dict[int, float]:
    """Rate by block of one of PRESETS. Layers before the first and after the last block go with their side."""
    rate = PRESETS[name]
    found = {BASE: rate("BASE")} | {block: rate("MID") for block in where.mid}
    found |= {block: rate(f"IN{index:02d}") for index, block in enumerate(where.down)}
    found |= {block: rate(f"OUT{index:02d}") for index, block in enumerate(where.up)}
    if where is _SDXL:
        found |= {0: found[1], 22: found[21]}
    return found


def part(text: str, field: str, blocks: Sequence[int]) -> dict[int, float]:
    """Rate by block of one part (down, mid or up): as many numbers as it has blocks, or a curve's name with an
    optional base: `sine+0.25`, or one number
    for all. Raises SettingsError naming `field`."""
    name, _, base = text.strip().partition("+")
    if name.strip() in _CURVES:
        (added,) = _numbers(base, field) if "," not in base else _refused(text, field)
        last, curve = max(len(blocks) - 1, 1), _CURVES[name.strip()]
        return {block: curve(index / last) + added for index, block in enumerate(blocks)}
    numbers = _numbers(text, field) if re.match(r"[\s\d.,+-]", text) else _refused(text, field)
    if len(numbers) == 1:
        numbers *= len(blocks)
    if len(numbers) != len(blocks):
        said = f"{field} has {len(numbers)} values; this family has {len(blocks)} blocks there."
        raise SettingsError(said, f"Give {len(blocks)} values, or one of {', '.join(_CURVES)}.", field)
    return dict(zip(blocks, numbers, strict=True))


def _refused(text: str, field: str) -> list[float]:
    raise SettingsError(f"{field} has no curve `{text[:40]}`.", f"There are {', '.join(_CURVES)}.", field)
