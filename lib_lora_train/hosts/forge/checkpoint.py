"""The checkpoint Forge has loaded or will load next: which it is, and what is known of it beside its tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ...errors import HostError
from ...families.loan import Identity
from ...objectives.schedule import is_zero_terminal, zero_terminal
from ..webui.state import wants_zero_snr

_PREDICTIONS = ("epsilon", "v_prediction")


@dataclass(frozen=True)
class Loaded:
    """`choice`: what Forge loaded it by (checkpoint, files for VAE and text encoders, storage of the U-Net).

    The model itself is asked for each time: a reference to it would keep its memory when Forge loads another.
    """

    choice: Mapping[str, Any]

    @property
    def model(self) -> Any:
        return loaded()

    @property
    def is_loaded(self) -> bool:
        return loaded() is not None and _data().forge_hash == str(self.choice)


def loaded() -> Any | None:
    """Forge's diffusion engine in memory; None before the first picture and while another one is loading."""
    model = _data().sd_model
    return None if getattr(model, "forge_objects_original", None) is None else model


def choice() -> Mapping[str, Any]:
    """By what the next picture will be drawn; {} until the page is built."""
    return _data().forge_loading_parameters


def choice_of(title: str) -> Mapping[str, Any]:
    """The current choice with another checkpoint. Raises HostError for an unknown title."""
    from ..webui.pictures import checkpoint_info

    return {**choice(), "checkpoint_info": checkpoint_info(title)}


def ready() -> Loaded:
    """What is chosen, loaded if it is not: as Forge itself does before every picture.

    Needs the lock. Raises HostError when Forge cannot load it.
    """
    from modules import sd_models

    wanted = Loaded(choice())
    if wanted.choice.get("checkpoint_info") is None:
        raise HostError("No checkpoint is chosen.", "Choose one at the top of the page.")
    if loaded() is None:
        _data().forge_hash = ""  # after a load that failed Forge believes it has what it had before
    try:
        sd_models.forge_model_reload()
    except Exception as error:  # noqa: BLE001 whatever the host stumbles over, this is what the user needs to know
        raise HostError(
            f"The web UI could not load its checkpoint: {error}", "Choose another checkpoint, or look at its console."
        ) from error
    if loaded() is None:
        raise HostError("The web UI could not load its checkpoint.", "Look at its console.")
    return wanted


@contextmanager
def chosen(what: Mapping[str, Any]) -> Iterator[None]:
    """Inside the block pictures are drawn by `what`. A choice that the user makes meanwhile stays."""
    data = _data()
    before = data.forge_loading_parameters
    data.forge_loading_parameters = what
    try:
        yield
    finally:
        if data.forge_loading_parameters is what:
            data.forge_loading_parameters = before


def identity(what: Mapping[str, Any]) -> Identity | None:
    """Of the checkpoint of a choice; None when it has none."""
    info = what.get("checkpoint_info")
    if info is None:
        return None
    files = ", ".join(Path(file).name for file in what.get("additional_modules") or ())
    return Identity(info.title, str(info.filename), info.sha256 or "", info.hash or "", files)


def prediction(model: Any) -> str:
    """Raises HostError for one that cannot be trained."""
    kind = str(model.forge_objects_original.unet.model.predictor.prediction_type)
    if kind not in _PREDICTIONS:
        raise HostError(f"The checkpoint predicts `{kind}`.", "Load one that predicts epsilon or v.")
    return kind


def schedule(model: Any) -> tuple[Tensor, bool]:
    """(alphas_cumprod [T] float32 on the CPU, zero terminal SNR?) as Forge draws with."""
    alphas = model.forge_objects_original.unet.model.predictor.alphas_cumprod.detach().float().cpu().clone()
    if wants_zero_snr() or getattr(model.model_config, "ztsnr", False):
        alphas = zero_terminal(alphas)
    return alphas, is_zero_terminal(alphas)


def vae_scale(model: Any) -> float:
    """Latents trained on per latent of the VAE, as Forge's own conversion has it."""
    vae = model.forge_objects_original.vae.first_stage_model
    return float(vae.process_in(1.0) - vae.process_in(0.0))


def _data() -> Any:
    from modules import sd_models

    return sd_models.model_data
