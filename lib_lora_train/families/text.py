"""Captions to rows of tokens, and rows of tokens to what a CLIP text model makes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import SettingsError
from .loan import Tokenizer
from .precision import computing_in

RUN = 75  # tokens between begin and end, CLIP's window


def rows_of(tokenizer: Tokenizer, captions: Sequence[str], max_token_length: int) -> Tensor:
    """Token ids [B, n, 77], n = max_token_length / 75: each row begin, 75 tokens or padding, end. Longer texts are cut.

    An end token stands right behind the text. Where the padding is another token (OpenCLIP), only a full row ends with
    an end token, and one without text begins with it. Source: golden 03_tokens.
    """
    count = max_token_length // RUN
    return rows_of_ids(tokenizer, [tokenizer.encode(caption)[: count * RUN] for caption in captions], count)


def rows_of_ids(tokenizer: Tokenizer, texts: Sequence[list[int]], count: int) -> Tensor:
    """The same of tokens, at most `count` * 75 in each text."""
    return torch.tensor([_rows(tokenizer, ids, count) for ids in texts], dtype=torch.long)


def _rows(tokenizer: Tokenizer, ids: list[int], count: int) -> list[list[int]]:
    whole = [*ids, tokenizer.eos]
    whole += [tokenizer.pad] * (count * RUN + 1 - len(whole))
    rows = []
    for at in range(0, count * RUN, RUN):
        first, *rest = whole[at : at + RUN]
        full = rest[-1] not in (tokenizer.eos, tokenizer.pad)
        first = tokenizer.eos if first == tokenizer.pad else first
        rows.append([tokenizer.bos, first, *rest, tokenizer.eos if full else whole[-1]])
    return rows


def hidden_states(encoder: nn.Module, rows: Tensor, clip_skip: int, dtype: torch.dtype) -> Tensor:
    """States [B, n * 75 + 2, C] after the `clip_skip`-th layer from the end, with the final layer norm.

    The rows are encoded each by itself and joined: the first begin token, the insides, the last end token.
    Source: sd-scripts' encoding of long captions, held by golden 03_text_encoding.
    """
    (state,) = layer_states(encoder, rows, [clip_skip], dtype)
    return join(_inner(encoder).final_layer_norm(state))


def layer_states(encoder: nn.Module, rows: Tensor, skips: Sequence[int], dtype: torch.dtype) -> list[Tensor]:
    """For each of `skips` the raw states [B, n, 77, C] after that layer, counted from the end (1 is the last).

    Raises SettingsError when there are not so many."""
    layers = _inner(encoder).encoder.layers
    if not 1 <= min(skips) <= max(skips) <= len(layers):
        raise SettingsError(
            f"CLIP skip {max(skips)} is more than this text encoder's {len(layers)} layers.", "Lower it.", "clip_skip"
        )
    with computing_in(encoder, dtype):
        states = _outputs_of([layers[-skip] for skip in skips], lambda: encoder(rows.flatten(0, 1)))
    return [state.unflatten(0, rows.shape[:2]) for state in states]


def pooled(encoder: nn.Module, last: Tensor, ids: Tensor, eos: int) -> Tensor:
    """The projected state [B, P] of the first end token; `last` [B, 77, C] is the last layer's raw state of `ids`.

    Without an end token, as where somebody's text ends with the row, it is the first token's."""
    at = (ids == eos).int().argmax(dim=-1)
    normed = _inner(encoder).final_layer_norm(last)
    return encoder.text_projection(normed[torch.arange(len(ids), device=last.device), at])


def join(states: Tensor) -> Tensor:
    """[B, n, 77, C] to [B, n * 75 + 2, C]."""
    inside = states[:, :, 1:-1].flatten(1, 2)
    return torch.cat([states[:, 0, :1], inside, states[:, -1, -1:]], dim=1)


def _inner(encoder: nn.Module) -> nn.Module:
    """Some versions of transformers wrap the text model once more."""
    return getattr(encoder, "text_model", encoder)


def _outputs_of(layers: Sequence[nn.Module], run: Callable[[], Any]) -> list[Tensor]:
    """What `layers` answer while `run()` runs. (The libraries' own recording of states differs between versions.)"""
    seen: dict[nn.Module, Any] = {}
    hooks = [layer.register_forward_hook(lambda owner, _args, output: seen.update({owner: output})) for layer in layers]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    found = [seen[layer] for layer in layers]
    return [output if isinstance(output, Tensor) else output[0] for output in found]
