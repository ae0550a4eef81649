"""The kinds of adapter layers: which class each is, how a file's tensors show it, which web UIs apply it."""

from __future__ import annotations

from collections.abc import Iterable

from .dylora import DyloraLayer
from .full import FullLayer, NormLayer
from .glora import GloraLayer
from .ia3 import Ia3Layer
from .layer import Layer
from .loha import LohaLayer
from .lokr import LokrLayer
from .lora import LoraLayer
from .oft import BoftLayer, OftLayer

KINDS: dict[str, type[Layer]] = {
    "LoRA": LoraLayer,
    "LoCon": LoraLayer,
    "LoHa": LohaLayer,
    "LoKr": LokrLayer,
    "IA3": Ia3Layer,
    "DyLoRA": DyloraLayer,
    "GLoRA": GloraLayer,
    "OFT": OftLayer,
    "BOFT": BoftLayer,
    "full": FullLayer,
    "norm": NormLayer,
}
# Tensors that show a kind, all of a row together; DyLoRA's files are a LoRA's.
_MARKS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("lora_down.weight", "lora_up.weight"), "LoRA"),
    (("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"), "LoHa"),
    (("lokr_w1", "lokr_w2"), "LoKr"),
    (("lokr_w1", "lokr_w2_a", "lokr_w2_b"), "LoKr"),
    (("lokr_w1_a", "lokr_w1_b", "lokr_w2"), "LoKr"),
    (("lokr_w1_a", "lokr_w1_b", "lokr_w2_a", "lokr_w2_b"), "LoKr"),
    (("a1.weight", "a2.weight", "b1.weight", "b2.weight"), "GLoRA"),
    (("weight", "on_input"), "IA3"),
    (("oft_blocks",), "OFT"),
    (("diff",), "full"),
    (("w_norm",), "norm"),
)
TENSORS = {name for layer in KINDS.values() for name in layer.names} | {"alpha"}


def kind_of(names: Iterable[str], dimensions: int = 3) -> str | None:
    """The kind of a module whose tensors have these names; None when they are no whole module. OFT's and BOFT's names
    are the same: `dimensions` of `oft_blocks` tell them apart."""
    there = set(names)
    kind = next((kind for marks, kind in _MARKS if there.issuperset(marks)), None)
    return "BOFT" if kind == "OFT" and dimensions == 4 else kind
