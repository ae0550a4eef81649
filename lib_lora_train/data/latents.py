"""Pictures as the VAE's latent moments: making them with a lent VAE, keeping them, sampling from them."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import DataError
from ..families.loan import Loan
from .fingerprint import FileDigests
from .masks import MaskCache
from .store import Store, digest
from .types import Fit

_VERSION = "latents 1"  # raised when pictures are decoded, resized or encoded differently


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation of a picture's latents, [C, h, w] float32 on the CPU, not scaled."""

    mean: Tensor
    std: Tensor

    def sample(self, generator: torch.Generator) -> Tensor:
        """mean + std * eps with a CPU generator; [C, h, w] float32, not scaled."""
        return self.mean + self.std * torch.randn(self.mean.shape, generator=generator)


@dataclass(frozen=True)
class LatentKey:
    """All that a picture's moments depend on."""

    picture: str  # digest of the file
    fit: Fit
    mirrored: bool
    background: str
    vae: str  # its fingerprint

    @property
    def text(self) -> str:
        return digest(_VERSION, self.picture, self.fit, self.mirrored, self.background.lower(), self.vae)


class LatentCache:
    """Moments by content under `folder` (None: in memory), and the digests of picture files; `masks` and `faces` are
    what else is found in them.

    `vae` is the fingerprint of the VAE this run's latents are from.
    """

    def __init__(self, folder: Path | None, limit_gb: float = 10.0):
        self.store = Store(folder, "latents", limit_gb)
        self.masks = MaskCache(folder, limit_gb)
        self.faces = Store(folder, "faces", limit_gb)
        self.files = FileDigests(folder and folder / "pictures.json")
        self.vae = ""

    def get(self, key: LatentKey) -> Moments | None:
        """None when absent or damaged."""
        entry = self.store.get(key.text)
        return Moments(entry["mean"], entry["std"]) if entry else None

    def put(self, key: LatentKey, moments: Moments) -> None:
        self.store.put(key.text, {"mean": moments.mean, "std": moments.std})

    def tidy(self) -> str:
        """Keep the size limit and remember file digests; what went wrong, "" when nothing did."""
        try:
            self.files.save()
        except OSError as error:
            self.store.trouble = f"{error.strerror or error}"
        self.store.trim()
        return self.store.trouble


class Encoder:
    """Encodes with the lent VAE in its own precision; with an exact float32 copy where that fails.

    The copy is made on a CPU for half-precision VAEs (half convolutions are slow or missing there) and when a result
    is not finite (some VAEs overflow in float16); `upcast` tells.
    """

    slow_in_half = ("cpu",)  # kinds of devices

    def __init__(self, loan: Loan):
        self.loan = loan
        self.upcast = False
        self._copy: nn.Module | None = None

    def __call__(self, pictures: Tensor) -> list[Moments]:
        """`pictures` [B, 3, H, W] in -1..1. Raises DataError when the latents are not finite even in float32."""
        weight = next(self.loan.vae.parameters())
        half = weight.dtype not in (torch.float32, torch.float64)
        mean, std = self._encode(pictures, exact=half and (self.upcast or weight.device.type in self.slow_in_half))
        if half and not self.upcast and not _finite(mean, std):
            self.upcast = True
            mean, std = self._encode(pictures, exact=True)
        if not _finite(mean, std):
            raise DataError("The VAE gives latents that are not finite.", "Choose another VAE in the web UI.")
        return [Moments(m, s) for m, s in zip(mean, std, strict=True)]

    @torch.no_grad()
    def _encode(self, pictures: Tensor, exact: bool) -> tuple[Tensor, Tensor]:
        vae = self._exact() if exact else self.loan.vae
        weight = next(vae.parameters())
        found = vae.encode(pictures.to(weight.device, weight.dtype)).latent_dist
        return found.mean.float().cpu(), found.std.float().cpu()

    def _exact(self) -> nn.Module:
        if self._copy is None:
            self._copy = copy.deepcopy(self.loan.vae).float()
        return self._copy


def _finite(*tensors: Tensor) -> bool:
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)
