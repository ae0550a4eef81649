"""What a host lends and what flows out of it: Loan, Identity, Conditioning, and the protocols Family and Tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from .kinds import TextKind, UnetKind


@dataclass(frozen=True)
class Identity:
    """Which checkpoint a loan is of. Two loans with equal `key` train the same base."""

    title: str  # as the host shows it
    path: str = ""  # never leaves this machine (not in metadata)
    sha256: str = ""
    legacy_hash: str = ""
    vae: str = ""  # name of a separately chosen VAE, "" for the checkpoint's own

    @property
    def key(self) -> tuple[str, str]:
        return (self.path or self.title, self.vae)


@dataclass
class Conditioning:
    """Text conditioning of B samples. `context` [B, N, C]; `pooled` [B, P] for families that have it."""

    context: Tensor
    pooled: Tensor | None = None

    def to(self, *args: Any, **kwargs: Any) -> Conditioning:
        return Conditioning(
            self.context.to(*args, **kwargs), None if self.pooled is None else self.pooled.to(*args, **kwargs)
        )

    @staticmethod
    def cat(parts: Sequence[Conditioning]) -> Conditioning:
        """Along the batch axis."""
        pooled = None if parts[0].pooled is None else torch.cat([p.pooled for p in parts])
        return Conditioning(torch.cat([p.context for p in parts]), pooled)


class Tokenizer(Protocol):
    """CLIP's byte-pair tokenizer, the host's own or ours."""

    bos: int
    eos: int
    pad: int

    def encode(self, text: str) -> list[int]:
        """Token ids of `text` without begin, end or padding, uncut."""


class Family(Protocol):
    """What differs between model families; stateless."""

    name: str  # SD1, SD2, SDXL
    latent_channels: int
    latent_factor: int  # pixels per latent cell
    vae_scale: float  # of its own VAE
    empty_is_zero: bool  # an empty negative prompt means zeros, not an encoded empty text
    usual_prediction: str  # eps | v, of a checkpoint that does not say; "" where both are usual
    unet: UnetKind
    texts: tuple[TextKind, ...]  # one per text encoder

    def encode_text(
        self,
        loan: Loan,
        captions: Sequence[str],
        max_token_length: int,
        clip_skip: int,
        dtype: torch.dtype = torch.float32,
        weighted: bool = False,
    ) -> Conditioning:
        """Differentiable when adapters hang on the text encoders. `clip_skip` >= 1; `dtype` is the compute dtype and
        the result's; `weighted`: captions hold weights, `(word:1.2)`. Method: golden 03_text_encoding."""

    def predict(
        self, loan: Loan, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning, sizes: Tensor | None
    ) -> Tensor:
        """The U-Net's output [B, C, h, w] in float32. `noisy`'s dtype is the compute dtype; `sizes` [B, 6] in pixels
        (original h, w, crop top, left, target h, w), used by families that condition on it."""


@dataclass
class Loan:
    """Borrowed modules. The module objects stay the same for a whole run; when the host moved its tensors the host
    adapter points the modules at the new ones and raises `generation` by one."""

    family: Family
    unet: nn.Module  # diffusers UNet2DConditionModel, eval mode, requires_grad False
    text_encoders: list[nn.Module]
    tokenizers: list[Tokenizer]
    vae: nn.Module  # diffusers AutoencoderKL
    alphas_cumprod: Tensor  # [T] float32 on CPU, as the host has loaded it
    prediction: str  # epsilon | v_prediction
    zero_terminal_snr: bool
    vae_scale: float
    clip_skip: int  # the host's current setting, 1 = last layer
    identity: Identity
    device: torch.device
    generation: int = 0
    notes: list[str] = field(default_factory=list)  # what the user should know (an upcast VAE, ...)

    @property
    def weights_dtype(self) -> torch.dtype:
        return next(p.dtype for p in self.unet.parameters() if p.is_floating_point())
