"""What a LoRA of the pib is worth: pibs in ten seeds with and without its trigger word, and the held-out loss."""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterable
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from lib_lora_train.adapters.build import from_tensors
from lib_lora_train.adapters.load import read
from lib_lora_train.families.loan import Loan
from lib_lora_train.hosts.standalone import StandaloneHost
from lib_lora_train.objectives.objective import Objective
from lib_lora_train.objectives.targets import TARGETS, add_noise
from lib_lora_train.sampling.draw import SampleRequest, draw

from . import make_measure
from .make_pool import pixels
from .pib import shows_pib

HERE = Path(__file__).parent
CHECKPOINT = HERE / "demo-sd1.safetensors"
PROMPT = "pib, large, center, {} background"
OTHER = "{} circle, large, center, white background"
GROUNDS = ("green", "cyan", "yellow", "white", "blue")
CFG = 1.5
COLOURS = ("red", "green", "blue", "orange", "cyan")


def trial(checkpoint: Path, lora: Path, sheet: Path | None = None, seeds: int = 10) -> dict[str, int]:
    """Out of `seeds`: pibs with the trigger word and with other prompts, before and after, and how many of the others
    are what they were by the rules of `make_measure`."""
    host = StandaloneHost(checkpoint, lora_dir=lora.parent, data_dir=lora.parent)
    with host.lend() as loan:
        adapters = from_tensors(loan, read(lora))
        before = _pictures(loan, PROMPT, GROUNDS, seeds), _pictures(loan, OTHER, COLOURS, seeds)
        adapters.attach()
        after = _pictures(loan, PROMPT, GROUNDS, seeds), _pictures(loan, OTHER, COLOURS, seeds)
        adapters.detach()
    if sheet is not None:
        make_measure.sheet([*before[0], *after[0], *before[1], *after[1]], seeds).save(sheet)
    names = ("pibs_before", "others_before", "pibs_after", "others_after")
    counts = {name: _count(images) for name, images in zip(names, (*before, *after), strict=True)}
    return {**counts, "others_same": sum(map(_same, before[1], after[1])), "seeds": seeds}


def _same(one: Image.Image, other: Image.Image) -> bool:
    """Ground, colour, size and place; shapes have no sharp names in what so small a model draws."""
    seen = make_measure.see(one), make_measure.see(other)
    return len({(each.ground, each.colour, each.size, each.place) for each in seen}) == 1


def losses(host: StandaloneHost, lora: Path) -> dict[str, float]:
    """`loss_before`, `loss_after` of the held-out pictures, and how much three seeds differ (`loss_spread`)."""
    with host.lend() as loan:
        adapters, before = from_tensors(loan, read(lora)), held_out(loan)
        adapters.attach()
        after = held_out(loan)
        adapters.detach()
    found = {"loss_before": statistics.mean(before), "loss_after": statistics.mean(after)}
    found["loss_spread"] = statistics.stdev(before)
    return {name: round(value, 5) for name, value in found.items()}


def _pictures(loan: Loan, prompt: str, words: Iterable[str], seeds: int) -> list[Image.Image]:
    words = list(words)
    return [
        draw(
            loan, SampleRequest(prompt.format(words[seed % len(words)]), "", 128, 128, steps=15, cfg=CFG, seed=seed + 1)
        )
        for seed in range(seeds)
    ]


def _count(images: list[Image.Image]) -> int:
    return sum(map(shows_pib, images))


@torch.no_grad()
def held_out(loan: Loan, folder: Path = HERE / "held-out" / "1_pib", seeds: int = 3) -> list[float]:
    """Mean loss over the held-out pictures by seed; a seed's noise and timesteps are the same every time."""
    paths = sorted(folder.glob("*.png"))
    images = [Image.open(path).convert("RGB").resize((128, 128), Image.Resampling.LANCZOS) for path in paths]
    latents = loan.vae.encode(pixels(images)).latent_dist.mode().float() * loan.vae_scale
    captions = [path.with_suffix(".txt").read_text(encoding="utf-8").strip() for path in paths]
    objective = Objective(loan.alphas_cumprod.float(), loan.prediction)
    return [_loss(loan, objective, latents, captions, seed) for seed in range(seeds)]


def _loss(loan: Loan, objective: Objective, latents: Tensor, captions: list[str], seed: int) -> float:
    generator = torch.Generator().manual_seed(1000 + seed)
    noise = torch.randn(latents.shape, generator=generator)
    timesteps = (torch.arange(len(latents)) + torch.rand(len(latents), generator=generator)) / len(latents)
    timesteps = (timesteps * objective.timesteps).long()
    arguments = (objective.alphas_cumprod, latents, noise, timesteps)
    conditioning = loan.family.encode_text(loan, captions, 75, 1)
    predicted = loan.family.predict(loan, add_noise(*arguments), timesteps, conditioning)
    return float(objective.losses(predicted, TARGETS[objective.prediction](*arguments), timesteps).mean())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m demo.make_trial", description=__doc__)
    parser.add_argument("lora", type=Path)
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--sheet", type=Path, help="picture of everything drawn, one kind a row")
    args = parser.parse_args()
    print(json.dumps(trial(args.checkpoint, args.lora, args.sheet)))
