"""The host for when there is none: a memory-mapped checkpoint file, a lock of its own, folders given by the caller."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from ..errors import CheckpointSwitched, HostError
from ..families.borrow import Source, borrow, check, rebind
from ..families.known import FAMILIES
from ..families.listen import prediction_of
from ..families.loan import Family, Identity, Loan
from ..families.sidecar import Facts, facts
from ..families.tokenizer import ClipTokenizer
from .base import Guard, HostStatus, PictureRequest
from .checkpoint_file import legacy_hash, mapped, under
from .fifo import FifoLock


@dataclass(frozen=True)
class _Checkpoint:
    """A checkpoint's tensors and what is known about them."""

    source: Source
    facts: Facts
    identity: Identity
    family: Family


class StandaloneHost:
    """Implements `hosts.base.Host`. `vae` is a separate VAE file in LDM layout instead of the checkpoint's own."""

    name = "stand-alone"

    def __init__(
        self,
        checkpoint: Path,
        lora_dir: Path,
        data_dir: Path,
        vae: Path | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        self._checkpoint, self._vae = Path(checkpoint), vae
        self._lora_dir, self._data_dir = Path(lora_dir), Path(data_dir)
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._lock = FifoLock()
        self._file: _Checkpoint | None = None  # memory-mapped
        self._held: _Checkpoint | None = None  # the same on the device
        self._lent: _Checkpoint | None = None  # whose tensors the loan that is out points at
        self._own: Loan | None = None  # the modules that `txt2img` draws with; a loan's are never shared with it

    # what is loaded

    def load(self, checkpoint: Path, vae: Path | None = None) -> None:
        """Choose another checkpoint; a loan that is out notices when it comes back from `away`."""
        with self._lock:
            self._checkpoint, self._vae = Path(checkpoint), vae
            self._file = self._held = self._own = None

    def identity(self) -> Identity | None:
        return self._identity() if self._checkpoint.is_file() else None

    def status(self) -> HostStatus:
        common: dict[str, Any] = {"host": self.name, "checkpoint": self._checkpoint.name}
        try:
            file = self._mapped()
        except HostError as error:
            return HostStatus(**common, problem=error.message, remedy=error.remedy)
        used, total = self._memory()
        return HostStatus(
            **common,
            family=file.family.name,
            prediction=file.facts.prediction,
            precision=str(next(iter(file.source.unet.values())).dtype).removeprefix("torch."),
            vae=file.identity.vae,
            memory_used_gb=used,
            memory_total_gb=total,
        )

    # the model

    @contextmanager
    def lend(self) -> Iterator[Loan]:
        self._lock.acquire()
        try:
            loan, self._lent = self._borrow(), self._held
            yield loan
        finally:
            self._lent = None
            if self._lock.mine:  # not so after CheckpointSwitched
                self._lock.release()

    @contextmanager
    def away(self, loan: Loan) -> Iterator[None]:
        if self._lock.mine:
            self._lock.release()
        try:
            yield
        finally:
            self._lock.acquire()
        self._take_back(loan)

    def breathe(self, loan: Loan) -> bool:
        if not self._lock.waiting:
            return False
        with self.away(loan):
            pass
        return True

    def txt2img(self, request: PictureRequest) -> list[Image]:
        """One picture, by DDIM whatever sampler is asked for; LoRAs named in the prompt are read from the LoRA folder.

        Raises HostError for an unknown LoRA or checkpoint."""
        with nullcontext() if self._lock.mine else self._lock, self._other(request.checkpoint):
            return [self._picture(request)]

    def checkpoints(self) -> list[str]:
        """Those that lie beside the loaded one."""
        return sorted(path.name for path in self._checkpoint.parent.glob("*.safetensors"))

    # files

    def lora_dir(self) -> Path:
        return self._lora_dir

    def data_dir(self) -> Path:
        return self._data_dir

    def loras(self) -> dict[str, Path]:
        """Every LoRA that prompts can name; runs keep theirs to themselves, also where they lie in the LoRA folder."""
        found = sorted(self._lora_dir.rglob("*.safetensors"))
        return {path.stem: path for path in found if self._data_dir not in path.parents}

    def release(self, path: Path) -> None:
        """LoRAs are read whole and never kept open."""

    def publish(self, path: Path) -> None:
        """The list is the folder itself."""

    def guard(self) -> Guard:
        return Guard(check=lambda _request: "")

    def allowed_folder(self, path: Path) -> bool:
        return True

    # inside

    @contextmanager
    def _other(self, title: str) -> Iterator[None]:
        """Inside the block the checkpoint `title` is loaded; afterwards the one before, with all made of it."""
        if title in ("", self._checkpoint.name):
            yield
            return
        if title not in self.checkpoints():
            raise HostError(f"{self._checkpoint.name} is loaded.", f"Load {title} for this picture.")
        before = self._checkpoint, self._file, self._held, self._own
        self._checkpoint, self._file, self._held, self._own = self._checkpoint.parent / title, None, None, None
        try:
            yield
        finally:
            self._checkpoint, self._file, self._held, self._own = before

    def _identity(self) -> Identity:
        return Identity(
            title=self._checkpoint.name,
            path=str(self._checkpoint.resolve()),
            legacy_hash=legacy_hash(self._checkpoint),
            vae=self._vae.name if self._vae else "",
        )

    def _mapped(self) -> _Checkpoint:
        """Cheap: nothing is read but the header, the small numbers and the yaml."""
        if self._file is None:
            tensors = mapped(self._checkpoint)
            unet = under(tensors, "model.diffusion_model.")
            family = FAMILIES[check({key: tuple(tensor.shape) for key, tensor in unet.items()})]
            known = facts(self._checkpoint, tensors, family)
            source = Source(
                unet=unet,
                text_encoders=[under(tensors, kind.prefix) for kind in family.texts],
                vae=under(tensors, "first_stage_model.") if self._vae is None else _vae_file(self._vae),
                heads=known.heads,
                text_heads=known.text_heads,
                text_activations=known.text_activations,
            )
            self._file = _Checkpoint(source, known, self._identity(), family)
        return self._file

    def _loaded(self) -> _Checkpoint:
        if self._held is None:
            file = self._mapped()
            source = replace(
                file.source,
                unet=self._placed(file.source.unet),
                text_encoders=[self._placed(tensors) for tensors in file.source.text_encoders],
                vae=self._placed(file.source.vae),
            )
            self._held = replace(file, source=source)
        return self._held

    def _placed(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {key: tensor.to(self._device) for key, tensor in tensors.items()}

    def _borrow(self) -> Loan:
        held = self._loaded()
        borrowed = borrow(held.source)
        return Loan(
            family=borrowed.family,
            unet=borrowed.unet,
            text_encoders=borrowed.text_encoders,
            tokenizers=[ClipTokenizer(kind.pad) for kind in borrowed.family.texts],
            vae=borrowed.vae,
            alphas_cumprod=held.facts.alphas_cumprod,
            prediction=held.facts.prediction or prediction_of(borrowed.unet),
            zero_terminal_snr=held.facts.zero_terminal_snr,
            vae_scale=held.facts.vae_scale,
            clip_skip=1,
            identity=held.identity,
            device=self._device,
        )

    def _take_back(self, loan: Loan) -> None:
        """The lock is held again: is it the same checkpoint, and are its tensors where they were?"""
        now = self.identity()
        if now is None or now.key != loan.identity.key:
            self._lock.release()
            loaded = now.title if now else "Nothing"
            raise CheckpointSwitched(f"{loaded} is loaded now.", f"Load {loan.identity.title} again to go on.")
        if self._loaded() is not self._lent:
            rebind(loan, self._loaded().source)
            self._lent = self._held

    def _picture(self, request: PictureRequest) -> Image:
        from ..sampling.draw import SampleRequest, draw
        from .prompt_loras import attached, without_tags

        self._own = self._own or self._borrow()
        sample = SampleRequest(
            prompt=request.prompt if request.literal else without_tags(request.prompt),
            negative=without_tags(request.negative),
            width=request.width,
            height=request.height,
            steps=request.steps,
            cfg=request.cfg,
            seed=request.seed,
            clip_skip=request.clip_skip or self._own.clip_skip,
        )
        with attached(self._own, "" if request.literal else request.prompt, {**self.loras(), **request.files}):
            return draw(self._own, sample)

    def _memory(self) -> tuple[float, float]:
        """(used, total) of the device in GB; zeros where there is nothing to measure."""
        if self._device.type != "cuda":
            return 0.0, 0.0
        free, total = torch.cuda.mem_get_info(self._device)
        return (total - free) / 2**30, total / 2**30


def _vae_file(path: Path) -> dict[str, Tensor]:
    """A separate VAE has LDM's names with or without the checkpoint's prefix."""
    tensors = mapped(path)
    return under(tensors, "first_stage_model.") or tensors
