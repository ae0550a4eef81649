"""Makes the demo checkpoint: trains U-Net and text encoder on the toy world, resumable, on an ordinary CPU."""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from lib_lora_train.objectives.schedule import scaled_linear
from lib_lora_train.objectives.targets import add_noise, velocity

from . import make_measure, make_model, make_vae
from .make_model import Model
from .make_pool import Drawn, Pool

SEED = 5
ALPHAS = scaled_linear()


@dataclass(frozen=True)
class Plan:
    minutes: float = 60.0  # of training altogether; the learning rate falls over them
    batch: int = 16
    unet_rate: float = 5e-4
    text_rate: float = 1e-3  # of the text encoder and of what reads it, the cross-attention
    warmup: int = 50  # steps
    ema: float = 0.995
    first_pool: int = 320
    pool: int = 2048
    save_minutes: float = 4.0
    measure_minutes: float = 10.0
    uneven: float = 0.2  # strength of coarse noise; see `uneven_noise`
    thing: float = 5.0  # weight of what is around a thing, where its shape is learned; the ground counts 1
    late: float = 0.6  # exponent below 1: more late timesteps, where only the caption tells the colours


@dataclass
class Position:
    """How far the training is."""

    step: int = 0
    seconds: float = 0.0
    loss: float = 1.0
    average: list[Tensor] = field(default_factory=list)


def parameters(model: Model) -> list[dict]:
    """Two groups: the U-Net's own layers, and everything that words go through."""
    unet, text = [], []
    for module, name in model.trained():
        module.requires_grad_(True)
        for key, parameter in module.named_parameters():
            (text if name == "text" or ".attn2." in key else unet).append(parameter)
    return [{"params": unet, "name": "unet"}, {"params": text, "name": "text"}]


def loss_of(model: Model, batch: Drawn, timesteps: Tensor, noise: Tensor, thing: float = 1.0) -> Tensor:
    """Mean squared error of the velocity, with `thing` times the weight where a thing is.

    Late timesteps, where the caption tells the colours, count as much as others; an error of the noise there counts
    next to nothing, and these few channels cannot carry its mean through norms.
    """
    noisy = add_noise(ALPHAS, batch.latents, noise, timesteps)
    # On a CPU the fused attention's backward is the slowest part of a step by far
    with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
        predicted = model.unet(noisy, timesteps, encoder_hidden_states=model.encode(batch.captions)).sample
    weight = 1 + (thing - 1) * batch.things
    off = predicted.float() - velocity(ALPHAS, batch.latents, noise, timesteps)
    return (weight / weight.mean() * off**2).mean()


def uneven_noise(shape: torch.Size, most: float, generator: torch.Generator) -> Tensor:
    """White noise [B, C, h, w], and coarse noise of 1, 2 and 4 cells a side up to `most` on top of it.

    White noise leaves colours and places readable to the last timestep, so a model learns to read them off the noise.
    Where coarse noise hides them, only the caption tells.
    """
    noise = torch.randn(shape, generator=generator)
    strength = most * torch.rand(shape[0], 1, 1, 1, generator=generator)
    for side in (1, 2, 4):
        coarse = torch.randn(*shape[:2], side, side, generator=generator)
        noise += strength * functional.interpolate(coarse, shape[2:], mode="bilinear")
    return noise


def rate_at(plan: Plan, at: Position) -> float:
    """Factor of the learning rates: warm-up by steps, then level, in the last third of the time down to a fiftieth."""
    falling = max(0.0, 3 * min(1.0, at.seconds / (60 * plan.minutes)) - 2)
    return min(1.0, (at.step + 1) / plan.warmup) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * falling)))


class Training:
    def __init__(self, model: Model, plan: Plan, out: Path) -> None:
        self.model, self.plan, self.out = model, plan, out
        self.groups = parameters(model)
        self.params = [p for group in self.groups for p in group["params"]]
        self.optimizer = torch.optim.AdamW(self.groups, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
        self.at, self.pool = Position(average=[p.detach().clone() for p in self.params]), Pool()

    def run(self) -> None:
        saved = measured = self.at.seconds
        while self.at.seconds < 60 * self.plan.minutes:
            began = time.monotonic()
            self._step()
            self.at.seconds += time.monotonic() - began
            if self.at.step % 10 == 0:
                self._tell()
            if self.at.seconds - saved > 60 * self.plan.save_minutes:
                saved = self.at.seconds
                self.save()
            if self.at.seconds - measured > 60 * self.plan.measure_minutes:
                measured = self.at.seconds
                self.measure()
        self.save()
        self.measure()

    def _step(self) -> None:
        plan, at = self.plan, self.at
        rng = random.Random(f"{SEED}-{at.step}")
        generator = torch.Generator().manual_seed(SEED * 1_000_003 + at.step)
        self._grow()
        batch = self.pool.batch(plan.batch, rng)
        spread = (torch.arange(plan.batch) + torch.rand(plan.batch, generator=generator)) / plan.batch
        timesteps = (1000 * spread**plan.late).long().clamp(max=999)
        noise = uneven_noise(batch.latents.shape, plan.uneven, generator)
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(plan, at) * (plan.unet_rate if group["name"] == "unet" else plan.text_rate)
        loss = loss_of(self.model, batch, timesteps, noise, plan.thing)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.params, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        decay = min(plan.ema, (1 + at.step) / (10 + at.step))
        torch._foreach_lerp_(at.average, [p.detach() for p in self.params], 1 - decay)
        at.loss += (loss.item() - at.loss) / min(50, at.step + 1)
        at.step += 1

    def _grow(self) -> None:
        missing = self.plan.pool - len(self.pool.scenes)
        if missing > 0:
            self.pool.grow(self.model, min(missing, 1 if self.pool.scenes else self.plan.first_pool))

    def _tell(self) -> None:
        rate = self.at.step * self.plan.batch / self.at.seconds
        print(
            f"step {self.at.step}  loss {self.at.loss:.4f}  {self.at.seconds / 60:.1f} of {self.plan.minutes:g} min  "
            f"{rate:.0f} pictures/s  pool {len(self.pool.scenes)}",
            file=sys.stderr,
            flush=True,
        )

    def save(self) -> None:
        state = {
            "step": self.at.step,
            "seconds": self.at.seconds,
            "loss": self.at.loss,
            "average": self.at.average,
            "params": [p.detach() for p in self.params],
            "optimizer": self.optimizer.state_dict(),
        }
        torch.save(self.pool.latents, self.out.with_suffix(".pool"))
        beside = self.out.with_suffix(".state.part")
        torch.save(state, beside)
        beside.replace(self.out.with_suffix(".state"))
        self.averaged(lambda: self.model.save(self.out))

    def resume(self) -> bool:
        pool, path = self.out.with_suffix(".pool"), self.out.with_suffix(".state")
        if pool.is_file():
            self.pool.restore(torch.load(pool, weights_only=True))
        if not path.is_file():
            return False
        state = torch.load(path, weights_only=True)
        self.at = Position(state["step"], state["seconds"], state["loss"], state["average"])
        with torch.no_grad():
            torch._foreach_copy_(self.params, state["params"])
        self.optimizer.load_state_dict(state["optimizer"])
        for group in self.optimizer.param_groups:
            group["fused"] = True  # whatever the state was saved with
        return True

    def averaged(self, do) -> None:
        """`do` with the averaged weights in place of the current ones."""
        with torch.no_grad():
            current = [p.detach().clone() for p in self.params]
            torch._foreach_copy_(self.params, self.at.average)
            try:
                do()
            finally:
                torch._foreach_copy_(self.params, current)

    def measure(self) -> None:
        def do() -> None:
            print(make_measure.measure(self.model, self.out.with_suffix(".png")), file=sys.stderr, flush=True)

        self.averaged(do)


def begin(start: Path | None, keep_text: bool) -> Model:
    """What training begins with: a checkpoint, with its text encoder or a new one; or nothing, VAE first."""
    generator = torch.Generator().manual_seed(SEED)
    if start is None:
        model = make_model.nothing(generator)
        make_vae.train(model)
        return model
    model = make_model.load(start)
    if not keep_text:
        make_model.fresh_text(model, generator)
    return model


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m demo.make_checkpoint", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors; what resuming needs lies beside it")
    parser.add_argument("--minutes", type=float, default=Plan.minutes, help="of training U-Net and text encoder")
    parser.add_argument("--start", type=Path, help="checkpoint to begin with instead of nothing")
    parser.add_argument("--keep-text", action="store_true", help="go on with the text encoder of --start too")
    parser.add_argument("--compile", action="store_true", help="half again as fast after minutes; needs a C++ compiler")
    args = parser.parse_args()
    started = args.out.with_suffix(".state").is_file()
    model = make_model.load(args.out) if started else begin(args.start, args.keep_text)
    training = Training(model, Plan(minutes=args.minutes), args.out)
    training.resume()
    if args.compile:
        model.unet.compile()
    training.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
