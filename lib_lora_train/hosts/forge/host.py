"""ForgeHost: the Host protocol on Forge (lllyasviel's f2) and on descendants that have the same parts."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from PIL.Image import Image

from ...families.borrow import Borrowed, Source
from ...families.loan import Identity, Loan
from ...families.tokenizer import HostTokenizer
from ..base import HostStatus, PictureRequest
from ..webui import WebUIHost, pictures, state
from ..webui import loras as lora_files
from ..webui.tensors import device
from . import checkpoint, loras, tensors
from .checkpoint import Loaded
from .status import status_of


class Forge:
    """Implements `webui.kind.Kind`; `model` is a `checkpoint.Loaded`."""

    moves_weights = True  # unloads everything after a page was opened, and frees a checkpoint before it loads another

    @cached_property
    def name(self) -> str:
        return f"Forge {state.version().partition('v')[0]}"  # A1111's version follows the v

    def status(self) -> HostStatus:
        return status_of(self.name)

    def next_identity(self) -> Identity | None:
        return checkpoint.identity(checkpoint.choice())

    def ready(self) -> Loaded:
        return checkpoint.ready()

    def again(self, model: Loaded) -> Loaded:
        """A checkpoint that is only chosen, not drawn with yet, leaves the loaded one as it is."""
        return model if model.is_loaded else checkpoint.ready()

    def identity_of(self, model: Loaded) -> Identity:
        return checkpoint.identity(model.choice)

    def source(self, model: Loaded) -> tuple[Source, bool]:
        tensors.family(model.model)
        loras.take_out(model.model)
        return tensors.source(model.model)

    def loan(self, model: Loaded, borrowed: Borrowed) -> Loan:
        engine, identity = model.model, checkpoint.identity(model.choice)
        alphas, zero_snr = checkpoint.schedule(engine)
        return Loan(
            family=borrowed.family,
            unet=borrowed.unet,
            text_encoders=borrowed.text_encoders,
            tokenizers=[
                HostTokenizer(each, kind.pad)
                for each, kind in zip(tensors.tokenizers(engine), borrowed.family.texts, strict=True)
            ],
            vae=borrowed.vae,
            alphas_cumprod=alphas,
            prediction=checkpoint.prediction(engine),
            zero_terminal_snr=zero_snr,
            vae_scale=checkpoint.vae_scale(engine),
            clip_skip=state.clip_skip(),
            identity=identity,
            device=device(),
            notes=_notes(identity, tensors.precision(engine)),
        )

    def draw(self, request: PictureRequest, model: Loaded | None) -> list[Image]:
        with checkpoint.chosen(_choice(request.checkpoint, model)):
            return pictures.draw(request)

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


class ForgeHost(WebUIHost):
    """See hosts/base.py for what the methods promise."""

    def __init__(self) -> None:
        super().__init__(Forge())


def _choice(title: str, model: Loaded | None) -> dict:
    """By what a picture of the checkpoint `title` is drawn: what is lent, if it is that one."""
    if model is not None and title in ("", checkpoint.identity(model.choice).title):
        return model.choice
    return checkpoint.choice_of(title) if title else checkpoint.choice()


def _notes(identity: Identity, precision: str) -> list[str]:
    notes = []
    if identity.vae:
        notes.append(f"Loaded with the checkpoint: {identity.vae}.")
    if precision.startswith("fp8"):
        notes.append(
            "The U-Net is stored in fp8, which rounds its weights. "
            "For the best LoRA set Diffusion in Low Bits to Automatic."
        )
    return notes
