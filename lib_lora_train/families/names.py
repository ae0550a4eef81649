"""Modules of a loan by canonical name, whatever the installed libraries call them."""

from __future__ import annotations

from torch import nn

from .keys_clip import canonical
from .loan import Loan


def layers(loan: Loan) -> dict[str, dict[str, nn.Module]]:
    """For each module of the loan that can carry adapters (`unet`, `text_encoder` or `text_encoder_1` and `_2`) its
    layers with a weight, by canonical name."""
    found = {"unet": _layers(loan.unet)}
    for owner, encoder in zip(text_owners(len(loan.text_encoders)), loan.text_encoders, strict=True):
        found[owner] = {canonical(name): layer for name, layer in _layers(encoder).items()}
    return found


def text_owners(count: int) -> list[str]:
    return [f"text_encoder_{number}" for number in range(1, count + 1)] if count > 1 else ["text_encoder"]


def _layers(module: nn.Module) -> dict[str, nn.Module]:
    return {name: layer for name, layer in module.named_modules() if "weight" in layer._parameters}
