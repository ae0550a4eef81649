"""Key map of CLIP's text model: the many spellings of Hugging Face's keys to one, and its configuration."""

from __future__ import annotations

from typing import Any

from .layout import Layout, Shapes, children, need

PREFIX = "text_model."
PROJECTION = "text_projection.weight"


def canonical(name: str) -> str:
    """`name` beginning with `text_model.`; without the layer that hosts wrap around the token embedding."""
    name = name.replace(".token_embedding.wrapped.", ".token_embedding.")
    return name if name.startswith((PREFIX, "text_projection.")) else PREFIX + name


def clip_layout(shapes: Shapes, heads: int = 0, activation: str = "quick_gelu") -> Layout:
    """`shapes` by key below `cond_stage_model.transformer.`; `heads` 0 means 64 channels per head, as CLIP has it."""
    names = {canonical(key): key for key in shapes if not key.endswith("position_ids")}
    return Layout(_config({name: shapes[key] for name, key in names.items()}, heads, activation), names)


def _config(shapes: Shapes, heads: int, activation: str) -> dict[str, Any]:
    """Arguments of CLIPTextConfig, from shapes by canonical name."""
    vocabulary, width = need(shapes, f"{PREFIX}embeddings.token_embedding.weight", "text encoder")
    projection = {"projection_dim": shapes[PROJECTION][0]} if PROJECTION in shapes else {}
    return {
        **projection,
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": need(shapes, f"{PREFIX}encoder.layers.0.mlp.fc1.weight", "text encoder")[0],
        "num_hidden_layers": len(children(shapes, f"{PREFIX}encoder.layers")),
        "num_attention_heads": heads or max(1, width // 64),
        "max_position_embeddings": need(shapes, f"{PREFIX}embeddings.position_embedding.weight", "text encoder")[0],
        "hidden_act": activation,
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": vocabulary - 1,
    }
