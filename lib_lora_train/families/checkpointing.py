"""Gradient checkpointing of borrowed modules: activations inside a block are computed again instead of kept."""

from __future__ import annotations

import re
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from .loan import Loan

# Our own switch: the libraries' ones want training mode, differ between versions and, in older transformers, give no
# gradients where a block's input needs none (the text encoder's first layer).
_BLOCKS = re.compile(r"\.(transformer_blocks|resnets|layers)\.\d+$")


def enable_checkpointing(loan: Loan, on: bool) -> None:
    """Switch it for U-Net and text encoders; off leaves no trace. Asking twice is asking once."""
    for module in (loan.unet, *loan.text_encoders):
        for name, block in module.named_modules():
            if _BLOCKS.search(f".{name}"):
                _switch(block, on)


def _switch(block: nn.Module, on: bool) -> None:
    block.__dict__.pop("forward", None)
    if on:
        # Nothing inside is random (no dropout in borrowed modules), so no generator's state has to be kept.
        plain = partial(type(block).forward, block)
        block.forward = partial(checkpoint, plain, use_reentrant=False, preserve_rng_state=False)
