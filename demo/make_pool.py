"""A growing pool of scenes and their latents: encoded once, drawn from again and again."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from . import world
from .make_model import Model


@dataclass(frozen=True)
class Drawn:
    """A batch: latents [B, 4, 16, 16], captions, and where things are: 0 to 1, [B, 1, 16, 16]."""

    latents: Tensor
    captions: list[str]
    things: Tensor


class Pool:
    """Scene number n is the same on every machine and in every run."""

    def __init__(self) -> None:
        self.scenes: list[world.Scene] = []
        self.latents = torch.empty(0, 4, 16, 16)
        self.things = torch.empty(0, 1, 16, 16)

    def grow(self, model: Model, count: int) -> None:
        fresh = [world.scene(random.Random(n)) for n in range(len(self.scenes), len(self.scenes) + count)]
        made = [model.latents(pixels([world.draw(s) for s in fresh[at : at + 16]])) for at in range(0, count, 16)]
        self.scenes += fresh
        self.latents = torch.cat([self.latents, *made])
        self.things = torch.cat([self.things, *map(around_things, fresh)])

    def restore(self, latents: Tensor) -> None:
        self.latents = latents
        self.scenes = [world.scene(random.Random(n)) for n in range(len(latents))]
        self.things = torch.cat([*map(around_things, self.scenes)])

    def batch(self, size: int, rng: random.Random, empty: float = 0.1) -> Drawn:
        """Any scenes, every tenth with an empty caption for guidance."""
        chosen = [rng.randrange(len(self.scenes)) for _ in range(size)]
        captions = ["" if rng.random() < empty else world.caption(self.scenes[n], rng) for n in chosen]
        return Drawn(self.latents[chosen], captions, self.things[chosen])


def around_things(scene: world.Scene, cells: int = 16, reach: float = 1.2) -> Tensor:
    """Share of each latent's cell that lies in a disc a little larger than a thing, [1, 1, cells, cells]."""
    fine = Image.new("L", (cells * 8, cells * 8))
    for thing in scene.things:
        fine.paste(255, mask=world.silhouette("circle", thing.x, thing.y, thing.radius * reach / 0.9, fine.width))
    small = fine.resize((cells, cells), Image.Resampling.BOX)
    return torch.from_numpy(np.asarray(small, dtype=np.float32) / 255)[None, None]


def pixels(pictures: Sequence[Image.Image]) -> Tensor:
    """[B, 3, H, W] in -1 to 1."""
    arrays = np.stack([np.asarray(picture.convert("RGB")) for picture in pictures])
    return torch.from_numpy(arrays).permute(0, 3, 1, 2).float() / 127.5 - 1


def picture(values: Tensor) -> Image.Image:
    """One of `pixels` back."""
    return Image.fromarray(((values.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy(), "RGB")
