"""The VAE's training from nothing: first on small crops in large batches, then on larger ones."""

from __future__ import annotations

import math
import random
import sys
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from . import world
from .make_model import SCALE, VAE, Model
from .make_pool import pixels

SPREAD = 0.03  # standard deviation of the latents that the encoder gives, fixed


@dataclass(frozen=True)
class Stage:
    side: int  # of the crops
    batch: int
    steps: int
    rate: float


# Colours and edges are learnt on 16 px, where a batch of 64 costs as much as one whole picture
STAGES = (Stage(16, 64, 700, 1e-3), Stage(32, 32, 700, 1e-3), Stage(64, 16, 600, 5e-4), Stage(128, 4, 800, 2e-4))


def train(model: Model, stages: tuple[Stage, ...] = STAGES, seed: int = 3) -> float:
    """Trains encoder and decoder in place; gives the last stage's mean absolute error on pixels in -1 to 1."""
    fix_spread(model)
    model.vae.requires_grad_(True)
    error = 0.0
    for number, stage in enumerate(stages):
        optimizer = torch.optim.AdamW(model.vae.parameters(), lr=stage.rate, betas=(0.9, 0.99), fused=True)
        rng, generator = random.Random(f"{seed}-{number}"), torch.Generator().manual_seed(100 * seed + number)
        for step in range(stage.steps):
            for group in optimizer.param_groups:
                group["lr"] = stage.rate * min(1.0, (step + 1) / 20) * (1 - 0.9 * step / stage.steps)
            error = _step(model.vae, optimizer, _crops(rng, stage), generator)
            fix_spread(model)
            if step % 50 == 0:
                print(f"VAE {stage.side} px, step {step} of {stage.steps}: {error:.4f}", file=sys.stderr, flush=True)
    model.vae.requires_grad_(False)
    return error


@torch.no_grad()
def fix_spread(model: Model) -> None:
    """The log-variance stays where it is: left alone it is near 0, and what the encoder gives is half noise."""
    weight, bias = (model.tensors[f"{VAE}quant_conv.{name}"] for name in ("weight", "bias"))
    weight[4:] = 0
    bias[4:] = 2 * math.log(SPREAD)


def _step(vae: nn.Module, optimizer: torch.optim.Optimizer, wanted: Tensor, generator: torch.Generator) -> float:
    latents = vae.encode(wanted).latent_dist.mode()
    made = vae.decode(latents + SPREAD * torch.randn(latents.shape, generator=generator)).sample
    loss = _difference(made, wanted) + 0.01 * _size(latents * SCALE)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
    optimizer.step()
    return float((made.detach() - wanted).abs().mean())


def _difference(made: Tensor, wanted: Tensor) -> Tensor:
    """L2 and L1 of the colours, and L1 of the edges, which keeps them sharp."""
    edges = sum(functional.l1_loss(made.diff(dim=axis), wanted.diff(dim=axis)) for axis in (-2, -1))
    return functional.mse_loss(made, wanted) + functional.l1_loss(made, wanted) + 0.5 * edges


def _size(latents: Tensor) -> Tensor:
    """How far the scaled latents are from mean 0 and deviation 1, by channel."""
    return latents.mean((0, 2, 3)).square().mean() + (latents.var((0, 2, 3)) - 1).square().mean()


def _crops(rng: random.Random, stage: Stage) -> Tensor:
    """[batch, 3, side, side] from anywhere in pictures of the world, a handful of crops of each."""
    pictures = [pixels([world.draw(world.scene(rng))]) for _ in range(max(stage.batch // 8, min(stage.batch, 4)))]
    crops = []
    for index in range(stage.batch):
        x, y = (rng.randrange(world.SIDE - stage.side + 1) for _ in range(2))
        crops.append(pictures[index % len(pictures)][:, :, y : y + stage.side, x : x + stage.side])
    return torch.cat(crops)
