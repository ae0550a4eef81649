"""Making adapters for a loan: fresh ones from a recipe, or those of a LoRA file."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..errors import SettingsError
from ..families.loan import Loan
from ..settings.schema import NetworkSettings
from .adapter_set import AdapterSet
from .check import check_kind, modules_of
from .lora import LoraLayer
from .targets import Target, targets


def build(loan: Loan, network: NetworkSettings, seed: int) -> AdapterSet:
    """Fresh adapters, not attached: they change nothing until trained.

    With convolutions, 1x1 convolutions and linear layers of the ResNet blocks have the ordinary rank.
    Raises SettingsError when neither U-Net nor text encoder is to be trained.
    """
    parts = {"unet": network.train_unet, "text_encoder": network.train_text_encoder}
    wanted = [t for t in targets(loan, convolutions=network.network_type == "LoCon") if parts[t.part]]
    if not wanted:
        raise SettingsError("Neither U-Net nor text encoder is trained.", "Switch on one of them.", "train_unet")
    layers = [(target, _layer(loan, target, *_size(network, target))) for target in wanted]
    for target, layer in layers:
        layer.start(seed, target.key)
    return AdapterSet(layers)


def from_tensors(loan: Loan, tensors: Mapping[str, Tensor]) -> AdapterSet:
    """The LoRA whose file holds `tensors`, with the ranks found there, not attached.

    Raises SettingsError when it was not made for the loan's family.
    """
    check_kind(tensors)
    there = modules_of(tensors)
    known = {target.key: target for target in targets(loan, convolutions=True)}
    layers = [(known[key], _layer(loan, known[key], *_size_in(tensors, key))) for key in known if key in there]
    adapters = AdapterSet(layers)
    adapters.load_state_dict(tensors)  # also says when some of the tensors found no place
    return adapters


def _size(network: NetworkSettings, target: Target) -> tuple[int, float]:
    """(rank, alpha); an alpha of 0 means the rank."""
    if target.wide:
        return network.conv_dim, network.conv_alpha or network.conv_dim
    return network.network_dim, network.network_alpha or network.network_dim


def _size_in(tensors: Mapping[str, Tensor], key: str) -> tuple[int, float]:
    """(rank, alpha) of a file's module; without an alpha it is the rank."""
    rank = tensors[f"{key}.lora_down.weight"].shape[0]
    return rank, float(tensors.get(f"{key}.alpha", rank))


def _layer(loan: Loan, target: Target, rank: int, alpha: float) -> LoraLayer:
    return LoraLayer(target.module, rank, alpha, device=torch.device(loan.device))
