"""A growing pool of scenes and their latents: encoded once, drawn from again and again."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from . import world
from .make_model import Model


class Pool:
    """Scene number n is the same on every machine and in every run."""

    def __init__(self) -> None:
        self.scenes: list[world.Scene] = []
        self.latents = torch.empty(0, 4, 16, 16)

    def grow(self, model: Model, count: int) -> None:
        fresh = [world.scene(random.Random(n)) for n in range(len(self.scenes), len(self.scenes) + count)]
        made = [model.latents(pixels([world.draw(s) for s in fresh[at : at + 16]])) for at in range(0, count, 16)]
        self.scenes += fresh
        self.latents = torch.cat([self.latents, *made])

    def restore(self, latents: Tensor) -> None:
        self.latents = latents
        self.scenes = [world.scene(random.Random(n)) for n in range(len(latents))]

    def batch(self, size: int, rng: random.Random, empty: float = 0.1) -> tuple[Tensor, list[str]]:
        """Latents [size, 4, 16, 16] and captions, every tenth of them empty for guidance."""
        chosen = [rng.randrange(len(self.scenes)) for _ in range(size)]
        captions = ["" if rng.random() < empty else world.caption(self.scenes[n], rng) for n in chosen]
        return self.latents[chosen], captions


def pixels(pictures: Sequence[Image.Image]) -> Tensor:
    """[B, 3, H, W] in -1 to 1."""
    arrays = np.stack([np.asarray(picture.convert("RGB")) for picture in pictures])
    return torch.from_numpy(arrays).permute(0, 3, 1, 2).float() / 127.5 - 1


def picture(values: Tensor) -> Image.Image:
    """One of `pixels` back."""
    return Image.fromarray(((values.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy(), "RGB")
