"""How much a LoRA file changes each block of the model: norms of what its modules add, from the file alone."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..adapters.blocks import BASE, block_of
from ..errors import ExportError
from ..export import lora_file

_TEXT = {"lora_te1_": "TE1", "lora_te2_": "TE2"}
_MID = {False: (12, 12), True: (10, 12)}  # first and last block number, by whether it is SDXL


@dataclass(frozen=True)
class BlockNorm:
    """`norm`: Frobenius, over all modules of the block at strength 1."""

    block: str  # IN00, MID, OUT03, TE, other
    norm: float
    modules: int


@dataclass(frozen=True)
class Norms:
    """`unknown`: modules of kinds whose change a file alone does not tell."""

    blocks: list[BlockNorm]
    unknown: int


def norms(path: Path) -> Norms:
    """Blocks in the model's order. Raises ExportError for a file that cannot be read."""
    modules: dict[str, list[str]] = defaultdict(list)
    for name in lora_file.read_header(path).tensors:
        module, _, part = name.partition(".")
        modules[module].append(part)
    sdxl = any(name.startswith(("lora_te2_", "lora_unet_input_blocks", "lora_unet_output_blocks")) for name in modules)
    squares: dict[str, list[float]] = defaultdict(list)
    unknown = 0
    for module, square in _squares(path, modules).items():
        if square is None:
            unknown += 1
        else:
            squares[_label(module, sdxl)].append(square)
    blocks = [BlockNorm(block, math.sqrt(sum(found)), len(found)) for block, found in squares.items()]
    return Norms(sorted(blocks, key=lambda one: _order(one.block)), unknown)


def _squares(path: Path, modules: Mapping[str, list[str]]) -> dict[str, float | None]:
    """Squared norm by module; None for kinds not known here."""
    try:
        with safe_open(str(path), framework="pt") as file:
            return {
                module: _square({part: file.get_tensor(f"{module}.{part}").float() for part in parts})
                for module, parts in modules.items()
            }
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise ExportError(f"{path.name} cannot be read: {error}.", "Choose another file.") from error


def _square(tensors: Mapping[str, Tensor]) -> float | None:
    rule = next((rule for parts, rule in _RULES if all(part in tensors for part in parts)), None)
    return None if rule is None or "dora_scale" in tensors else rule(tensors)


def _scaled(tensors: Mapping[str, Tensor], rank: int) -> float:
    alpha = tensors.get("alpha")
    return 1.0 if alpha is None or not rank else (alpha.item() / rank) ** 2


def _lora(tensors: Mapping[str, Tensor]) -> float:
    """|up down|^2 = sum(up'up * down down'), which needs only rank x rank numbers."""
    up, down, mid = tensors["lora_up.weight"], tensors["lora_down.weight"], tensors.get("lora_mid.weight")
    if mid is not None:  # Tucker: the kernel stands between them
        down = torch.einsum("abxy,bi->aixy", mid, down.flatten(1))
    up, down = up.flatten(1), down.flatten(1)
    return ((up.T @ up) * (down @ down.T)).sum().clamp(min=0).item() * _scaled(tensors, down.shape[0])


def _loha(tensors: Mapping[str, Tensor]) -> float | None:
    if "hada_t1" in tensors:
        return None
    first, second = (tensors[f"hada_w{i}_a"] @ tensors[f"hada_w{i}_b"] for i in (1, 2))
    return (first * second).square().sum().item() * _scaled(tensors, tensors["hada_w1_b"].shape[0])


def _lokr(tensors: Mapping[str, Tensor]) -> float | None:
    """The norm of a Kronecker product is the product of the norms."""
    if "lokr_t2" in tensors:
        return None
    ranks = [tensors[name].shape[0] for name in ("lokr_w1_b", "lokr_w2_b") if name in tensors]
    sides = [
        tensors[f"lokr_w{i}"]
        if f"lokr_w{i}" in tensors
        else tensors[f"lokr_w{i}_a"] @ tensors[f"lokr_w{i}_b"].flatten(1)
        for i in (1, 2)
    ]
    return math.prod(side.square().sum().item() for side in sides) * _scaled(tensors, ranks[-1] if ranks else 0)


def _full(tensors: Mapping[str, Tensor]) -> float:
    return tensors["diff"].square().sum().item()


_RULES: tuple[tuple[tuple[str, ...], Callable[[Mapping[str, Tensor]], float | None]], ...] = (
    (("lora_up.weight", "lora_down.weight"), _lora),
    (("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"), _loha),
    (("lokr_w1", "lokr_w2"), _lokr),
    (("lokr_w1", "lokr_w2_a", "lokr_w2_b"), _lokr),
    (("lokr_w1_a", "lokr_w1_b", "lokr_w2"), _lokr),
    (("lokr_w1_a", "lokr_w1_b", "lokr_w2_a", "lokr_w2_b"), _lokr),
    (("diff",), _full),
)


def _label(module: str, sdxl: bool) -> str:
    number = block_of(module)
    if number == BASE:
        return next((label for prefix, label in _TEXT.items() if module.startswith(prefix)), "TE")
    if number is None or (sdxl and number in (0, 22)):
        return "other"
    first, last = _MID[sdxl]
    if number > last:
        return f"OUT{number - last - 1:02}"
    return "MID" if number >= first else f"IN{number - sdxl:02}"


def _order(block: str) -> tuple[int, str]:
    places = ("TE", "IN", "MID", "OUT", "other")
    return next(i for i, place in enumerate(places) if block.startswith(place)), block
