"""What the rest of the program asks of a web UI; one implementation per kind of host, chosen by capability."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from PIL.Image import Image

from ..families.loan import Identity, Loan


@dataclass(frozen=True)
class PictureRequest:
    """txt2img by the host's own pipeline; `prompt` may hold `<lora:name:1>`."""

    prompt: str
    negative: str = ""
    width: int = 512
    height: int = 512
    steps: int = 20
    cfg: float = 7.0
    seed: int = 1
    checkpoint: str = ""  # title of the checkpoint to pin, "" for the loaded one
    sampler: str = ""  # "DDIM", or "" for what the host's users like
    clip_skip: int = 0  # 0: as the host is set
    literal: bool = False  # brackets and the like in `prompt` are letters of a caption, no syntax
    files: Mapping[str, Path] = field(default_factory=dict)  # LoRAs by the names `prompt` calls them, for it alone


@dataclass(frozen=True)
class HostStatus:
    """For the head line; cheap, never takes the lock, never loads anything."""

    host: str  # "A1111 1.10.1"
    checkpoint: str  # "" when nothing is loaded
    family: str = ""
    prediction: str = ""
    precision: str = ""
    vae: str = ""
    memory_used_gb: float = 0.0
    memory_total_gb: float = 0.0
    card: bool = True  # False: the memory is the computer's own, nothing computes on a card
    clip_skip: int = 1
    problem: str = ""  # why nothing can be trained now, "" when it can
    remedy: str = ""
    busy: str = ""
    defaults: dict = field(default_factory=dict)  # settings the host suggests

    @property
    def on_card(self) -> bool:
        """Whether a graphics card computes; estimates differ by a factor of hundreds."""
        return self.card and self.memory_total_gb > 0


@dataclass(frozen=True)
class Guard:
    """What the host asks of a request; routes ask `allows` before anything else."""

    check: Callable[[object], str]  # takes the starlette Request; "" allowed, else the reason
    open_to_network: bool = False
    insecure_allowed: bool = False
    page_token: str = ""  # what our page sends where the page is open but the API is not; see hosts/guard.py
    misnamed: Callable[[object], str] = lambda _request: ""  # the foreign name it was asked by; see hosts/addresses.py


class Host(Protocol):
    name: str

    def status(self) -> HostStatus: ...

    def lend(self) -> AbstractContextManager[Loan]:
        """Take the lock, load what is chosen if it is not, take foreign LoRAs out, borrow. Puts everything back.

        Raises HostError (nothing loaded, quantised weights, inpainting model, ...)."""

    def away(self, loan: Loan) -> AbstractContextManager[None]:
        """The lock is free inside the block. Afterwards it is held again, LoRAs are out again, and the loan's modules
        point at the host's tensors as they are now (`generation` + 1 when they moved).

        Raises CheckpointSwitched at the end when another checkpoint is loaded; the lock is then NOT held and `away`
        has to be entered again (after waiting) before the loan may be used."""

    def breathe(self, loan: Loan) -> bool:
        """If somebody waits for the lock, let them through by `away`; True if somebody did."""

    def txt2img(self, request: PictureRequest) -> list[Image]:
        """The host's pipeline. Takes the lock itself unless this thread's loan holds it."""

    def identity(self) -> Identity | None:
        """Of the checkpoint loaded now, without the lock; None when none is."""

    def checkpoints(self) -> list[str]:
        """Titles that a picture may ask for."""

    def lora_dir(self) -> Path: ...

    def data_dir(self) -> Path:
        """`<host data path>/train-lora`: runs, cache, recipes."""

    def release(self, path: Path) -> None:
        """Let go of a LoRA file that is about to be replaced (memory maps, open handles)."""

    def publish(self, path: Path) -> None:
        """Make a saved LoRA visible and fresh, also over an old name. Lock-free list refresh; cheap."""

    def guard(self) -> Guard: ...

    def allowed_folder(self, path: Path) -> bool:
        """May pictures be read from here, given how the host is exposed (see docs: trust)?"""
