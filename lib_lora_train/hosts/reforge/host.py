"""ReForgeHost: the Host protocol on reForge."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL.Image import Image

from ...families.borrow import Borrowed, Source
from ...families.loan import Identity, Loan
from ...families.tokenizer import HostTokenizer
from ..base import HostStatus, PictureRequest
from ..forge import loras, tensors
from ..webui import WebUIHost, choosing, state
from ..webui import loras as lora_files
from ..webui.tensors import device
from . import checkpoint
from .status import REMEDY, described


class ReForge:
    """Implements `webui.kind.Kind`; `model` is the host's `sd_model`."""

    moves_weights = True  # its memory management moves them, and takes a model apart before it loads another

    @cached_property
    def name(self) -> str:
        return f"reForge {state.version().partition('-')[0]}"  # A1111's version follows

    def status(self) -> HostStatus:
        return choosing.status(self.name, checkpoint.loaded, described)

    def next_identity(self) -> Identity | None:
        model = checkpoint.loaded()
        return None if model is None else checkpoint.identity_next(model)

    def ready(self) -> Any:
        return choosing.ready(checkpoint.loaded)

    def again(self, model: Any) -> Any:
        return self.ready()

    def identity_of(self, model: Any) -> Identity:
        return checkpoint.identity(model)

    def source(self, model: Any) -> tuple[Source, bool]:
        tensors.family(model, REMEDY)
        loras.take_out(model)
        return tensors.source(model)

    def loan(self, model: Any, borrowed: Borrowed) -> Loan:
        identity = checkpoint.identity(model)
        alphas, zero_snr = checkpoint.schedule(model)
        return Loan(
            family=borrowed.family,
            unet=borrowed.unet,
            text_encoders=borrowed.text_encoders,
            tokenizers=[
                HostTokenizer(each.tokenizer, kind.pad)
                for each, kind in zip(tensors.tokenizers(model), borrowed.family.texts, strict=True)
            ],
            vae=borrowed.vae,
            alphas_cumprod=alphas,
            prediction=checkpoint.prediction(model),
            zero_terminal_snr=zero_snr,
            vae_scale=checkpoint.vae_scale(model),
            clip_skip=checkpoint.clip_skip(model),
            identity=identity,
            device=device(),
            notes=_notes(identity, tensors.precision(model)),
        )

    def draw(self, request: PictureRequest, model: Any | None) -> list[Image]:
        """`model`, when given, is what `ready` finds loaded."""
        model = self.ready()
        if request.clip_skip and tensors.ends_early(model):
            request = replace(request, clip_skip=request.clip_skip + 1)  # counted from the layer that is not borrowed
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
        model = checkpoint.loaded()
        if model is not None:
            loras.forget(model)


class ReForgeHost(WebUIHost):
    """See hosts/base.py for what the methods promise."""

    def __init__(self) -> None:
        super().__init__(ReForge())


def _notes(identity: Identity, precision: str) -> list[str]:
    notes = []
    if identity.vae:
        notes.append(f"Loaded with the checkpoint: {identity.vae}.")
    if precision.startswith("fp8"):
        notes.append("The U-Net is stored in fp8, which rounds its weights. For the best LoRA load it in fp16.")
    return notes
