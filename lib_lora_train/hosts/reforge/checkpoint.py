"""The checkpoint reForge has loaded: which it is, and what is known of it beside its tensors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ...errors import HostError
from ...families.loan import Identity
from ...objectives.schedule import is_zero_terminal, zero_terminal
from ..forge.tensors import ends_early
from ..webui import choosing, state

_PREDICTIONS = {"EPS": "epsilon", "V_PREDICTION": "v_prediction"}


def loaded() -> Any | None:
    """The model as it is in memory now; None when there is none. (One that makes way for another leaves reForge's list
    first, and is then taken apart.)"""
    from modules import sd_models

    data = sd_models.model_data
    return next((model for model in list(data.loaded_sd_models) if model is data.sd_model), None)


def identity(model: Any) -> Identity:
    """sha256 only if the host knows it already; with the files that its VAE and text encoder come from."""
    return _with_text_encoder(choosing.identity(model))


def identity_next(model: Any) -> Identity:
    """Of what the next picture will be drawn with."""
    return _with_text_encoder(choosing.identity_next(model))


def _with_text_encoder(found: Identity) -> Identity:
    """The option for it; by itself reForge takes the checkpoint's own."""
    from modules import shared

    chosen = shared.opts.sd_text_encoder.removeprefix("TE: ")
    if chosen in ("Automatic", "None", Path(found.path).stem):
        return found
    return replace(found, vae=", ".join(filter(None, (found.vae, chosen))))


def prediction(model: Any) -> str:
    """Raises HostError for one that cannot be trained."""
    kind = _kind(_sampling(model))
    if kind not in _PREDICTIONS or not hasattr(_sampling(model), "sigmas"):
        raise HostError(f"The checkpoint predicts `{kind}`.", "Load one that predicts epsilon or v.")
    return _PREDICTIONS[kind]


def schedule(model: Any) -> tuple[Tensor, bool]:
    """(alphas_cumprod [T] float32 on the CPU, zero terminal SNR?) as reForge draws with."""
    sigmas = _sampling(model).sigmas.detach().double().cpu()
    alphas = (1 / (sigmas**2 + 1)).float()
    if state.wants_zero_snr() or getattr(model, "ztsnr", False):
        alphas = zero_terminal(alphas)
    return alphas, is_zero_terminal(alphas)


def clip_skip(model: Any) -> int:
    """As reForge draws with, counted from the last layer that is borrowed."""
    return max(1, state.clip_skip() - 1) if ends_early(model) else state.clip_skip()


def vae_scale(model: Any) -> float:
    """Latents trained on per latent of the VAE, as reForge's own conversion has it."""
    latents = model.forge_objects_original.unet.model.latent_format
    return float(latents.process_in(1.0) - latents.process_in(0.0))


def _sampling(model: Any) -> nn.Module:
    return model.forge_objects_original.unet.model.model_sampling


def _kind(sampling: nn.Module) -> str:
    """Its class is made of two: a schedule, which is a module, and what is predicted."""
    return next(base.__name__ for base in type(sampling).__mro__ if not issubclass(base, nn.Module))
