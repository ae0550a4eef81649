"""What is wanted of an adapter layer, before the layer's own size is known."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Spec:
    """`alpha` 0 means the rank. Fields that a kind has no use for are at their defaults."""

    kind: str
    rank: int
    alpha: float = 0.0
    tucker: bool = False  # decompose convolutions further
    decompose: bool = False  # DoRA
    unit: int = 1  # DyLoRA: ranks trained at once
    factor: int = -1  # LoKr
    decompose_both: bool = False  # LoKr
    full_matrix: bool = False  # LoKr
    constraint: float = 0.0  # OFT, BOFT
    rescaled: bool = False  # OFT, BOFT
