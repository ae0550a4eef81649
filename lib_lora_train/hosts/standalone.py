"""The host for when there is none: a memory-mapped checkpoint file, a lock of its own, folders given by the caller."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from ..errors import CheckpointSwitched, HostError
from ..families.borrow import Source, borrow, rebind
from ..families.detect import detect
from ..families.loan import Identity, Loan
from ..families.sidecar import Facts, facts
from ..families.tokenizer import ClipTokenizer
from .base import Guard, HostStatus, PictureRequest
from .checkpoint_file import legacy_hash, mapped, under
from .fifo import FifoLock

_LORA_TAG = re.compile(r"<lora:([^:>]+)(?::([\d.+-]+))?(?::([\d.+-]+))?>")


@dataclass(frozen=True)
class _Held:
    """A loaded checkpoint: its tensors and what is known about them."""

    source: Source
    facts: Facts
    identity: Identity


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
        self._held: _Held | None = None
        self._own: Loan | None = None  # the modules that `txt2img` draws with; a loan's are never shared with it

    # what is loaded

    def load(self, checkpoint: Path, vae: Path | None = None) -> None:
        """Choose another checkpoint; a loan that is out notices when it comes back from `away`."""
        with self._lock:
            self._checkpoint, self._vae = Path(checkpoint), vae
            self._held = self._own = None

    def identity(self) -> Identity | None:
        if self._held is None and not self._checkpoint.is_file():
            return None
        return self._held.identity if self._held else self._identity()

    def status(self) -> HostStatus:
        common: dict[str, Any] = {"host": self.name, "checkpoint": self._checkpoint.stem}
        try:
            held = self._loaded()
            family = detect({key: tuple(tensor.shape) for key, tensor in held.source.unet.items()})
        except HostError as error:
            return HostStatus(**common, problem=error.message, remedy=error.remedy)
        precision = next(iter(held.source.unet.values())).dtype
        used, total = self._memory()
        return HostStatus(
            **common,
            family=family,
            prediction=held.facts.prediction,
            precision=str(precision).removeprefix("torch."),
            vae=held.identity.vae,
            memory_used_gb=used,
            memory_total_gb=total,
        )

    # the model

    @contextmanager
    def lend(self) -> Iterator[Loan]:
        self._lock.acquire()
        try:
            yield self._borrow()
        finally:
            if self._lock.mine:  # not so after CheckpointSwitched
                self._lock.release()

    @contextmanager
    def away(self, loan: Loan) -> Iterator[None]:
        source = self._held.source if self._held else None
        if self._lock.mine:
            self._lock.release()
        try:
            yield
        finally:
            self._lock.acquire()
        self._check_still(loan, source)

    def breathe(self, loan: Loan) -> bool:
        if not self._lock.waiting:
            return False
        with self.away(loan):
            pass
        return True

    def txt2img(self, request: PictureRequest) -> list[Image]:
        """One picture; LoRAs named in the prompt are read from the LoRA folder. Raises HostError for unknown ones."""
        if self._lock.mine:
            return [self._picture(request)]
        with self._lock:
            return [self._picture(request)]

    # files

    def lora_dir(self) -> Path:
        return self._lora_dir

    def data_dir(self) -> Path:
        return self._data_dir

    def loras(self) -> dict[str, Path]:
        """Every LoRA that prompts can name."""
        return {path.stem: path for path in sorted(self._lora_dir.rglob("*.safetensors"))}

    def release(self, path: Path) -> None:
        """LoRAs are read whole and never kept open."""

    def publish(self, path: Path) -> None:
        """The list is the folder itself."""

    def guard(self) -> Guard:
        return Guard(check=lambda _request: "")

    def allowed_folder(self, path: Path) -> bool:
        return True

    # inside

    def _loaded(self) -> _Held:
        if self._held is None:
            self._held = self._open()
        return self._held

    def _open(self) -> _Held:
        tensors = mapped(self._checkpoint)
        known = facts(self._checkpoint, tensors)
        first_stage = under(tensors, "first_stage_model.") if self._vae is None else _vae_file(self._vae)
        source = Source(
            unet=self._placed(under(tensors, "model.diffusion_model.")),
            text_encoders=[self._placed(under(tensors, "cond_stage_model.transformer."))],
            vae=self._placed(first_stage),
            heads=known.heads,
            text_heads=[known.text_heads],
            text_activations=[known.text_activation],
        )
        return _Held(source, known, self._identity())

    def _placed(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {key: tensor.to(self._device) for key, tensor in tensors.items()}

    def _identity(self) -> Identity:
        return Identity(
            title=self._checkpoint.name,
            path=str(self._checkpoint.resolve()),
            legacy_hash=legacy_hash(self._checkpoint),
            vae=self._vae.name if self._vae else "",
        )

    def _borrow(self) -> Loan:
        held = self._loaded()
        borrowed = borrow(held.source)
        return Loan(
            family=borrowed.family,
            unet=borrowed.unet,
            text_encoders=borrowed.text_encoders,
            tokenizers=[ClipTokenizer()],
            vae=borrowed.vae,
            alphas_cumprod=held.facts.alphas_cumprod,
            prediction=held.facts.prediction,
            zero_terminal_snr=held.facts.zero_terminal_snr,
            vae_scale=held.facts.vae_scale,
            clip_skip=1,
            identity=held.identity,
            device=self._device,
        )

    def _check_still(self, loan: Loan, source: Source | None) -> None:
        """After the lock was free: the same checkpoint, perhaps with new tensors, or CheckpointSwitched, lock free."""
        now = self._loaded().identity
        if now.key != loan.identity.key:
            self._lock.release()
            raise CheckpointSwitched(f"{now.title} is loaded now.", f"Load {loan.identity.title} again to go on.")
        if self._loaded().source is not source:
            rebind(loan, self._loaded().source)

    def _picture(self, request: PictureRequest) -> Image:
        from ..sampling.draw import SampleRequest, draw

        self._own = self._own or self._borrow()
        prompt, negative = _LORA_TAG.sub("", request.prompt).strip(), _LORA_TAG.sub("", request.negative).strip()
        sample = SampleRequest(
            prompt=prompt,
            negative=negative,
            width=request.width,
            height=request.height,
            steps=request.steps,
            cfg=request.cfg,
            seed=request.seed,
            clip_skip=self._own.clip_skip,
        )
        with self._with_loras(self._own, request.prompt):
            return draw(self._own, sample)

    @contextmanager
    def _with_loras(self, loan: Loan, prompt: str) -> Iterator[None]:
        """Attach what `<lora:name:weight>` or `<lora:name:text encoder:U-Net>` ask for, with A1111's meaning."""
        from ..adapters.build import from_tensors
        from ..adapters.load import read

        with ExitStack() as attached:
            for name, text, unet in _LORA_TAG.findall(prompt):
                path = self.loras().get(name)
                if path is None:
                    raise HostError(
                        f"There is no LoRA named {name}.", f"Known are: {', '.join(self.loras()) or 'none'}."
                    )
                adapters = from_tensors(loan, read(path))
                adapters.multipliers = {"text_encoder": _weight(text, 1.0), "unet": _weight(unet, _weight(text, 1.0))}
                adapters.attach()
                attached.callback(adapters.detach)
            yield

    def _memory(self) -> tuple[float, float]:
        """(used, total) of the device in GB; zeros where there is nothing to measure."""
        if self._device.type != "cuda":
            return 0.0, 0.0
        free, total = torch.cuda.mem_get_info(self._device)
        return (total - free) / 2**30, total / 2**30


def _weight(text: str, otherwise: float) -> float:
    try:
        return float(text) if text else otherwise
    except ValueError as error:
        raise HostError(f"{text!r} is not a weight of a LoRA.", "Write it like <lora:name:0.8>.") from error


def _vae_file(path: Path) -> dict[str, Tensor]:
    """A separate VAE has LDM's names with or without the checkpoint's prefix."""
    tensors = mapped(path)
    return under(tensors, "first_stage_model.") or tensors
