"""Captions to rows of tokens, and rows of tokens to what a CLIP text model makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import SettingsError
from .loan import Tokenizer
from .precision import computing_in

RUN = 75  # tokens between begin and end, CLIP's window


def rows_of(tokenizer: Tokenizer, captions: Sequence[str], max_token_length: int) -> Tensor:
    """Token ids [B, n, 77], n = max_token_length / 75: each row begin, 75 tokens or padding, end. Longer texts are cut.

    With an end token that is also the padding (CLIP-L) there is an end token right behind the text.
    """
    count = max_token_length // RUN
    rows = []
    for caption in captions:
        ids = tokenizer.encode(caption)[: count * RUN]
        ids = ids + [tokenizer.pad] * (count * RUN - len(ids))
        rows.append([[tokenizer.bos, *ids[at : at + RUN], tokenizer.eos] for at in range(0, count * RUN, RUN)])
    return torch.tensor(rows, dtype=torch.long)


def hidden_states(encoder: nn.Module, rows: Tensor, clip_skip: int, dtype: torch.dtype) -> Tensor:
    """States [B, n * 75 + 2, C] after the `clip_skip`-th layer from the end, with the final layer norm.

    The rows are encoded each by itself and joined: the first begin token, the insides, the last end token.
    Source: sd-scripts' encoding of long captions, held by golden 03_text_encoding.
    """
    model = getattr(encoder, "text_model", encoder)
    layers = model.encoder.layers
    if not 1 <= clip_skip <= len(layers):
        raise SettingsError(
            f"CLIP skip {clip_skip} is more than this text encoder's {len(layers)} layers.", "Lower it.", "clip_skip"
        )
    with computing_in(encoder, dtype):
        state = model.final_layer_norm(_output_of(layers[-clip_skip], lambda: encoder(rows.flatten(0, 1))))
    return join(state.unflatten(0, rows.shape[:2]))


def join(states: Tensor) -> Tensor:
    """[B, n, 77, C] to [B, n * 75 + 2, C]."""
    inside = states[:, :, 1:-1].flatten(1, 2)
    return torch.cat([states[:, 0, :1], inside, states[:, -1, -1:]], dim=1)


def _output_of(layer: nn.Module, run: Any) -> Tensor:
    """What `layer` answers while `run()` runs. (The libraries' own recording of states differs between versions.)"""
    seen: list[Tensor] = []
    hook = layer.register_forward_hook(lambda _layer, _args, output: seen.append(output))
    try:
        run()
    finally:
        hook.remove()
    return seen[0] if isinstance(seen[0], Tensor) else seen[0][0]
