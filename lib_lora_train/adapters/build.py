"""Making adapters for a loan: fresh ones from a recipe, or those of a LoRA file."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..families.loan import Loan
from ..families.outline import outline_of
from ..settings.options_network import NetworkSettings
from .adapter_set import AdapterSet
from .check import check_kind, check_parts, forms_in
from .drops import Shares
from .kinds import KINDS
from .layer import Form, generator
from .plan import plan
from .targets import Place, at, places


def build(loan: Loan, network: NetworkSettings, seed: int) -> AdapterSet:
    """Fresh adapters, not attached: they change nothing until trained.

    Raises SettingsError when nothing is to be trained, or a list per block does not fit the family.
    """
    adapters = _made(loan, {p.place: p.form for p in plan(outline_of(loan), network)}, network)
    for target, layer in adapters.layers:
        layer.start(generator(seed, target.key), target.module)
    return adapters


def from_tensors(loan: Loan, tensors: Mapping[str, Tensor], network: NetworkSettings | None = None) -> AdapterSet:
    """The network whose file holds `tensors`, with the types and ranks found there, not attached; `network` says which
    parts it must have and what is dropped while training.

    Raises SettingsError when it was not made for the loan's family, or has other parts.
    """
    check_kind(tensors)
    if network is not None:
        parts = {"lora_unet_": network.train_unet, "lora_te": network.train_text_encoder}
        check_parts(tensors, [prefix for prefix, trained in parts.items() if trained])
    everywhere = {place.key: place for place in places(outline_of(loan))}
    forms = forms_in(tensors, {key: place.shape for key, place in everywhere.items()})
    adapters = _made(loan, {place: forms[key] for key, place in everywhere.items() if key in forms}, network)
    adapters.load_state_dict(tensors)  # also says when some of the tensors found no place
    return adapters


def _made(loan: Loan, forms: Mapping[Place, Form], network: NetworkSettings | None) -> AdapterSet:
    net, device = network or NetworkSettings(), torch.device(loan.device)
    layers = [KINDS[form.kind](form, device) for form in forms.values()]
    shares = Shares(net.network_dropout, net.rank_dropout, net.module_dropout)
    return AdapterSet(list(zip(at(loan, list(forms)), layers, strict=True)), shares)
