"""A1111Host: the Host protocol on AUTOMATIC1111's web UI."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from PIL.Image import Image

from ...families.borrow import Borrowed, Source
from ...families.loan import Identity, Loan
from ..base import HostStatus, PictureRequest
from ..webui import WebUIHost, choosing
from ..webui import loras as lora_files
from ..webui import state as common
from ..webui.tensors import device
from . import checkpoint, loras, tensors
from .status import described


class A1111:
    """Implements `webui.kind.Kind`; `model` is the host's `sd_model`."""

    moves_weights = False  # without --medvram they stay where they are, rewritten in place at most

    @cached_property
    def name(self) -> str:
        return f"A1111 {common.version()}"

    def status(self) -> HostStatus:
        return choosing.status(self.name, checkpoint.loaded, described)

    def next_identity(self) -> Identity | None:
        model = checkpoint.loaded()
        return None if model is None else choosing.identity_next(model)

    def ready(self) -> Any:
        return choosing.ready(checkpoint.loaded)

    def again(self, model: Any) -> Any:
        """A checkpoint of the same configuration is loaded into the same object, so `model` says nothing."""
        return self.ready()

    def identity_of(self, model: Any) -> Identity:
        return choosing.identity(model)

    def source(self, model: Any) -> tuple[Source, bool]:
        loras.take_out(model)
        tensors.make_room(model)
        return tensors.source(model), tensors.is_elsewhere(model)

    def loan(self, model: Any, borrowed: Borrowed) -> Loan:
        identity = choosing.identity(model)
        alphas, zero_snr = checkpoint.schedule(model)
        return Loan(
            family=borrowed.family,
            unet=borrowed.unet,
            text_encoders=borrowed.text_encoders,
            tokenizers=checkpoint.tokenizers(model, borrowed.family),
            vae=borrowed.vae,
            alphas_cumprod=alphas,
            prediction=checkpoint.prediction(model),
            zero_terminal_snr=zero_snr,
            vae_scale=float(model.scale_factor),
            clip_skip=checkpoint.clip_skip(model),
            identity=identity,
            device=device(),
            notes=[f"Pictures are encoded with {identity.vae}, the VAE that the web UI has loaded."]
            if identity.vae
            else [],
        )

    def draw(self, request: PictureRequest, model: Any | None) -> list[Image]:
        """`model`, when given, is what `ready` finds loaded."""
        model = self.ready()
        with tensors.on_device(model):
            return choosing.draw(request, model.sd_checkpoint_info.title)

    def take_out(self) -> None:
        model = checkpoint.loaded()
        if model is not None:
            loras.take_out(model)

    def let_go(self, path: Path) -> None:
        loras.let_go(path)

    def is_merged(self, path: Path) -> bool:
        return lora_files.is_merged(path)

    def show(self, path: Path) -> None:
        lora_files.show(path)


class A1111Host(WebUIHost):
    """See hosts/base.py for what the methods promise."""

    def __init__(self) -> None:
        super().__init__(A1111())
