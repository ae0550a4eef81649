"""Options of the network: kind, ranks, where it hangs, how it is kept from learning too much by heart."""

from __future__ import annotations

from typing import Annotated, Literal

from .section import Section
from .section import option as _o


class NetworkSettings(Section):
    """Network"""

    network_type: Annotated[
        Literal["LoRA", "LoCon"],
        _o("Type", "LoRA: attention and linear layers (LierLa). LoCon: also 3x3 convolutions (C3Lier), for styles."),
    ] = "LoRA"
    network_dim: Annotated[
        int, _o("Rank (dim)", "8-16 simple characters, 32-64 characters, 64-128 styles.", ge=1, advice=(1, 768))
    ] = 32
    network_alpha: Annotated[
        float, _o("Alpha", "Scale is alpha / rank; 0 means rank. Half the rank, or 1 with adaptive optimisers.", ge=0)
    ] = 16.0
    conv_dim: Annotated[int, _o("Convolution rank", "Rank of 3x3 convolutions (LoCon).", ge=1, advice=(1, 128))] = 8
    conv_alpha: Annotated[float, _o("Convolution alpha", "0 means the convolution rank.", ge=0)] = 1.0
    train_unet: Annotated[bool, _o("Train U-Net", "Off: only the text encoder learns.")] = True
    train_text_encoder: Annotated[
        bool, _o("Train text encoder", "Off saves memory and time, and caches text outputs.")
    ] = True
    network_weights: Annotated[
        str, _o("Continue from", "A LoRA file whose weights are the start; empty starts from scratch.")
    ] = ""
