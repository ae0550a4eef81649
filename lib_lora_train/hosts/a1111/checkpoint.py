"""The checkpoint the web UI has loaded: which it is, and what must be known beside its tensors to train on it."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ...errors import HostError
from ...families.loan import Family, Tokenizer
from ...families.tokenizer import ClipTokenizer, HostTokenizer
from ...objectives.schedule import is_zero_terminal, zero_terminal
from ..webui import state
from .tensors import embedders

_PREDICTIONS = {"eps": "epsilon", "v": "v_prediction"}


def loaded() -> Any | None:
    """The model as it is in memory now, without waiting for anything; None when there is none to draw with."""
    from modules import sd_models

    model = sd_models.model_data.sd_model
    if model is None or not hasattr(model, "sd_checkpoint_info"):
        return None
    return None if next(model.model.parameters()).is_meta else model


def tokenizers(model: Any, family: Family) -> list[Tokenizer]:
    """Those of the text encoders. Raises HostError when they are not the family's."""
    found = embedders(model)
    if len(found) != len(family.texts):
        raise HostError("The checkpoint's text encoder is not CLIP.", "Load an ordinary Stable Diffusion checkpoint.")
    return [
        HostTokenizer(embedder.tokenizer, kind.pad) if hasattr(embedder, "tokenizer") else ClipTokenizer(kind.pad)
        for embedder, kind in zip(found, family.texts, strict=True)
    ]


def clip_skip(model: Any) -> int:
    """As the host draws with; its setting is for text encoders of Stable Diffusion 1 (it can skip in one of SDXL's
    two, which no family does)."""
    heeded = not hasattr(model, "conditioner") and all(hasattr(e, "tokenizer") for e in embedders(model))
    return state.clip_skip() if heeded else 1


def prediction(model: Any) -> str:
    """Raises HostError for one that cannot be trained."""
    kind = getattr(model, "parameterization", "eps")
    if kind not in _PREDICTIONS:
        raise HostError(f"The checkpoint predicts `{kind}`.", "Load one that predicts epsilon or v.")
    return _PREDICTIONS[kind]


def schedule(model: Any) -> tuple[Tensor, bool]:
    """(alphas_cumprod [T] float32 on the CPU, zero terminal SNR?) as the host draws with.

    From the host's untouched copy: the current one may be rounded to fp16 by a compatibility option.
    """
    alphas = getattr(model, "alphas_cumprod_original", model.alphas_cumprod).detach().float().cpu()
    if state.wants_zero_snr():
        alphas = zero_terminal(alphas)
    return alphas, is_zero_terminal(alphas)
