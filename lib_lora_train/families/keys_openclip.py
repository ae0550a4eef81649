"""OpenCLIP's text model under Hugging Face's names: renamed, its fused projections sliced, its last one turned."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from torch import Tensor

from .keys_clip import PREFIX, PROJECTION
from .kinds import TextKind
from .layout import children

_BLOCKS = "transformer.resblocks"
_STEMS = {
    "token_embedding": "embeddings.token_embedding",
    "ln_final": "final_layer_norm",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_FUSED = re.compile(r"attn\.in_proj_(weight|bias)")


def respelt(tensors: Mapping[str, Tensor], kind: TextKind) -> dict[str, Tensor]:
    """What a family uses of a text encoder, as views of `tensors`: those of OpenCLIP by key below
    `cond_stage_model.model.`, those of Hugging Face as they are."""
    if any(key.startswith(f"{_BLOCKS}.") for key in tensors):
        layers = children(tensors, _BLOCKS)
        dropped = tuple(f"{_BLOCKS}.{layer}." for layer in layers[len(layers) - kind.surplus :])
        kept = {key: tensor for key, tensor in tensors.items() if not key.startswith(dropped)}
        tensors = {name: view for key, tensor in kept.items() for name, view in _views(key, tensor)}
    return {name: tensor for name, tensor in tensors.items() if kind.pooled or name != PROJECTION}


def _views(key: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    key = key.replace("token_embedding.wrapped.", "token_embedding.")  # a layer that hosts put around it
    if key == "text_projection":
        yield PROJECTION, tensor.T
    elif key == "positional_embedding":
        yield f"{PREFIX}embeddings.position_embedding.weight", tensor
    elif key.startswith(f"{_BLOCKS}."):
        number, inner = key[len(_BLOCKS) + 1 :].split(".", 1)
        for name, view in _in_block(inner, tensor):
            yield f"{PREFIX}encoder.layers.{number}.{name}", view
    elif key != "logit_scale":  # of training
        yield f"{PREFIX}{_renamed(key)}", tensor


def _in_block(inner: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    fused = _FUSED.fullmatch(inner)
    if not fused:
        yield _renamed(inner), tensor
        return
    width = tensor.shape[0] // 3
    for number, name in enumerate("qkv"):
        yield f"self_attn.{name}_proj.{fused[1]}", tensor[number * width : (number + 1) * width]


def _renamed(name: str) -> str:
    stem, _, kind = name.rpartition(".")
    return f"{_STEMS.get(stem, stem)}.{kind}"
