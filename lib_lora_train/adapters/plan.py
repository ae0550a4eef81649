"""What a network is made of, before anything is loaded: each layer that is to learn, its form, its block's rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import SettingsError
from ..families.outline import Outline
from ..settings.options_network import NetworkSettings
from . import blocks
from .kinds import KINDS
from .layer import Form
from .spec import Spec
from .targets import Place, chosen, places

_DECOMPOSED = ("LoRA", "LoCon", "LoHa", "LoKr")  # kinds with DoRA and Tucker's form
_TURNED = ("OFT", "BOFT")


@dataclass(frozen=True)
class Planned:
    place: Place
    form: Form


def plan(outline: Outline, network: NetworkSettings) -> list[Planned]:
    """The network's layers in file order. Blocks with rank or rate 0 have none.

    Raises SettingsError: nothing is left to train, or a list per block does not fit.
    """
    if not (network.train_unet or network.train_text_encoder):
        raise SettingsError("Neither U-Net nor text encoder is trained.", "Switch on one of them.", "train_unet")
    found = places(outline, chosen(network))
    sizes = Sizes.of(network, "text_encoder_2" in outline, any(place.wide for place in found))
    planned = []
    for place in found:
        rank, alpha = sizes.at(place)
        form = KINDS[_kind(network, place)].form(place.shape, _spec(network, place, rank, alpha)) if rank else None
        if form is not None:
            planned.append(Planned(place, form))
    if not planned:
        raise SettingsError("No layer is left to train.", "Choose more layers or blocks.", "network_preset")
    return planned


def _kind(network: NetworkSettings, place: Place) -> str:
    return "norm" if place.group == "norm" else network.network_type


def _spec(network: NetworkSettings, place: Place, rank: int, alpha: float) -> Spec:
    kind = _kind(network, place)
    decomposed = kind in _DECOMPOSED
    return Spec(
        kind=kind,
        rank=rank,
        alpha=alpha,
        tucker=network.use_tucker and decomposed,
        decompose=network.weight_decompose and decomposed,
        unit=min(network.dylora_unit, rank) if kind == "DyLoRA" else 1,
        factor=network.factor,
        decompose_both=network.decompose_both,
        full_matrix=network.full_matrix,
        constraint=network.constraint if kind in _TURNED else 0.0,
    )


@dataclass(frozen=True)
class Sizes:
    """Ranks, alphas and rates; by block where lists say so."""

    network: NetworkSettings
    ranks: Mapping[int, float]
    alphas: Mapping[int, float]
    conv_ranks: Mapping[int, float]
    conv_alphas: Mapping[int, float]
    rates: Mapping[int, float]

    @staticmethod
    def of(network: NetworkSettings, sdxl: bool, convolutions: bool) -> Sizes:
        """Raises SettingsError for a list that does not fit the family."""

        def listed(field: str) -> dict[int, float]:
            text = getattr(network, field)
            return blocks.values(text, field, blocks.layout(sdxl), convolutions) if text.strip() else {}

        ranks = {name: _whole(listed(name), name) for name in ("block_dims", "conv_block_dims")}
        alphas = {name: _positive(listed(name), name) for name in ("block_alphas", "conv_block_alphas")}
        return Sizes(
            network,
            ranks["block_dims"],
            alphas["block_alphas"],
            ranks["conv_block_dims"],
            alphas["conv_block_alphas"],
            rates(network, sdxl, convolutions),
        )

    def at(self, place: Place) -> tuple[int, float]:
        """(rank, alpha) of a layer, rank 0 where it does not learn; an alpha of 0 means the rank."""
        net, block = self.network, blocks.block_of(place.key)
        if self.rates.get(block, 1.0) == 0:
            return 0, 0.0
        if place.wide:
            rank, alpha = self.conv_ranks.get(block, net.conv_dim), self.conv_alphas.get(block, net.conv_alpha)
        else:
            rank, alpha = self.ranks.get(block, net.network_dim), self.alphas.get(block, net.network_alpha)
        return int(rank), float(alpha or rank)


def rates(network: NetworkSettings, sdxl: bool, convolutions: bool = False) -> dict[int, float]:
    """What multiplies the rate, by block; blocks that are missing have 1. Rates not above the threshold are 0.

    Raises SettingsError for lists that do not fit the family, or two ways to say the same.
    """
    where, text = blocks.layout(sdxl), network.block_lr_weight.strip()
    parts = {"down_lr_weight": where.down, "mid_lr_weight": where.mid, "up_lr_weight": where.up}
    told = {field: numbers for field, numbers in parts.items() if getattr(network, field).strip()}
    if text and told:
        field = next(iter(told))
        raise SettingsError(f"block_lr_weight and {field} both give rates.", "Empty one of them.", "block_lr_weight")
    if text in blocks.PRESETS:
        found = blocks.preset(text, where)
    elif text:
        found = blocks.values(text, "block_lr_weight", where, convolutions)
    else:
        found = {}
        for field, numbers in told.items():
            found |= blocks.part(getattr(network, field), field, numbers)
    return {block: rate if rate > network.block_lr_zero_threshold else 0.0 for block, rate in found.items()}


def _whole(listed: Mapping[int, float], field: str) -> dict[int, float]:
    for rank in listed.values():
        if rank < 0 or rank != int(rank):
            raise SettingsError(f"{field} holds {rank:g}, which is no rank.", "Write whole numbers from 0.", field)
    return dict(listed)


def _positive(listed: Mapping[int, float], field: str) -> dict[int, float]:
    if any(alpha < 0 for alpha in listed.values()):
        raise SettingsError(f"{field} holds a number below 0.", "Write numbers from 0.", field)
    return dict(listed)
