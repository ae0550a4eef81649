"""What differs between the web UIs of A1111's line; hosts/webui/host.py does the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from PIL.Image import Image

from ...families.borrow import Borrowed, Source
from ...families.loan import Identity, Loan
from ..base import HostStatus, PictureRequest


class Kind(Protocol):
    """One kind of web UI. `model` is what it knows a loaded checkpoint by; only its own kind looks into it."""

    name: str  # with the version
    moves_weights: bool  # True: nothing may be borrowed while the lock is free, or the host's memory is never freed

    # Read from memory, without the lock; nothing is loaded.

    def status(self) -> HostStatus: ...

    def next_identity(self) -> Identity | None:
        """Of what the next picture will be drawn with."""

    # Under the lock.

    def ready(self) -> Any:
        """The model of the chosen checkpoint, loaded if it is not. Raises HostError."""

    def again(self, model: Any) -> Any:
        """What there is to go on with after the host could do what it liked; `model` if that is still loaded.

        Raises HostError."""

    def identity_of(self, model: Any) -> Identity:
        """sha256 only if the host knows it already."""

    def source(self, model: Any) -> tuple[Source, bool]:
        """Its tensors on the host's device, without LoRAs; and whether some of them are copies.

        Raises HostError for what cannot be borrowed."""

    def loan(self, model: Any, borrowed: Borrowed) -> Loan:
        """Raises HostError for what cannot be trained."""

    def draw(self, request: PictureRequest, model: Any | None) -> list[Image]:
        """By the host's txt2img; LoRAs may stay merged. `model`: what the calling thread has borrowed, None: nothing.

        Fewer pictures than asked for when the user interrupted them. Raises HostError."""

    def take_out(self) -> None:
        """Make the loaded weights those of the checkpoint again."""

    # LoRA files, without the lock.

    def let_go(self, path: Path) -> None:
        """Forget the contents of a LoRA file; merged weights stay as they are."""

    def is_merged(self, path: Path) -> bool:
        """Is what the file held (perhaps before it was replaced) part of the weights now?"""

    def show(self, path: Path) -> None:
        """Make the file known, with metadata, card and contents as they are on disk now."""
