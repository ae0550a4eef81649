"""How well a checkpoint follows captions: pictures drawn from tags, judged by colour and shape rules."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lib_lora_train.objectives.schedule import scaled_linear
from lib_lora_train.sampling.sampler import ddim

from . import world
from .make_model import Model
from .make_pool import picture

_SIDE = 32  # pixels that silhouettes are compared at


@dataclass(frozen=True)
class Seen:
    """What the rules see in a picture."""

    ground: str
    colour: str
    shape: str
    size: str
    place: str


def see(image: Image.Image) -> Seen:
    """By rules: the border's colour, the colour of what differs from it, its silhouette, area and place."""
    values = _values(image)
    ground = _ground_of(values)
    found = _thing(values, ground)
    if found is None:
        return Seen(ground, "", "", "", "")
    mask, (left, top, right, bottom) = found
    colour = _nearest(np.median(values[mask], axis=0))
    x, y = (left + right) / 2 / world.SIDE - 0.5, (top + bottom) / 2 / world.SIDE - 0.5
    place = min(world.PLACES, key=lambda name: np.hypot(x - world.PLACES[name][0], y - world.PLACES[name][1]))
    size = "large" if max(bottom - top, right - left) / world.SIDE > 0.43 else "small"
    box = Image.fromarray(mask).crop(_box(found[1])).resize((_SIDE, _SIDE))
    return Seen(ground, colour, _shape(np.asarray(box) > 0), size, place)


def cut_out(image: Image.Image) -> Image.Image | None:
    """The part of a picture that holds what stands on its ground; None where nothing does."""
    values = _values(image)
    found = _thing(values, _ground_of(values))
    return found and Image.fromarray(values.astype(np.uint8)).crop(_box(found[1]))


def _values(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB").resize((world.SIDE, world.SIDE)), dtype=np.float32)


def _border(values: np.ndarray) -> np.ndarray:
    return np.concatenate([values[:4].reshape(-1, 3), values[-4:].reshape(-1, 3), *values[:, [0, 1, -2, -1]]])


def _ground_of(values: np.ndarray) -> str:
    return min(world.GROUNDS, key=lambda name: _off(_border(values), world.GROUNDS[name]).mean())


def _thing(values: np.ndarray, ground: str) -> tuple[np.ndarray, tuple[float, ...]] | None:
    """Where the thing is [H, W], and its left, top, right and bottom; a stray pixel does not count."""
    border = _border(values)
    mask = _unlike(values, border[_off(border, world.GROUNDS[ground]) < _GROUND])
    mask[:3], mask[-3:], mask[:, :3], mask[:, -3:] = False, False, False, False
    if mask.sum() < 60:
        return None
    rows, columns = np.nonzero(mask)
    top, bottom = np.percentile(rows, [1, 99])
    left, right = np.percentile(columns, [1, 99])
    return mask, (left, top, right, bottom)


def _box(sides: tuple[float, ...]) -> tuple[int, int, int, int]:
    left, top, right, bottom = map(int, sides)
    return left, top, right + 1, bottom + 1


_GROUND = 80.0  # distance in RGB within which what stands at the border is the ground
_THING = 45.0  # distance from all that the ground shows at the border, from which on it is the thing


def _unlike(values: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """Where `values` [H, W, 3] have none of the ground's own colours [N, 3]; drawn ones are never quite the named."""
    tones = np.unique((ground // 12).astype(np.int32), axis=0) * 12.0 + 6
    if not len(tones):
        return np.zeros(values.shape[:2], dtype=bool)
    nearest = np.full(values.shape[:2], np.inf, dtype=np.float32)
    for tone in tones:
        np.minimum(nearest, np.linalg.norm(values - tone, axis=-1), out=nearest)
    return nearest > _THING


def _off(values: np.ndarray, ground: world.Colour) -> np.ndarray:
    """Distance of pixels [..., 3] from the ground's tones, which reach from full to half brightness."""
    tone = np.asarray(ground, dtype=np.float32)
    along = np.clip((values * tone).sum(-1, keepdims=True) / (tone * tone).sum(), 0.5, 1.0)
    return np.linalg.norm(values - along * tone, axis=-1) + 60 * (1 - along[..., 0]) * 0.3


def _nearest(colour: np.ndarray) -> str:
    return min(world.COLOURS, key=lambda name: float(np.linalg.norm(colour - np.asarray(world.COLOURS[name]))))


def _shape(found: np.ndarray) -> str:
    def agreement(name: str) -> float:
        mask = world.silhouette(name, 0.5, 0.5, 0.3, 4 * _SIDE)
        wanted = np.asarray(mask.crop(mask.getbbox()).resize((_SIDE, _SIDE))) > 127
        return (found & wanted).sum() / max(1, (found | wanted).sum())

    return max(world.SHAPES, key=agreement)


@torch.no_grad()
def drawn(model: Model, prompts: list[str], seed: int, steps: int = 15, cfg: float = 2.0) -> list[Image.Image]:
    """128 px pictures, all in one batch."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(prompts), 4, 16, 16, generator=generator)
    context = model.encode([""] * len(prompts) + prompts)

    def guided(x: torch.Tensor, timestep: int) -> torch.Tensor:
        times = torch.full((2 * len(x),), timestep)
        without, with_text = model.unet(torch.cat([x, x]), times, encoder_hidden_states=context).sample.chunk(2)
        return without + cfg * (with_text - without)

    return [picture(each) for each in model.pixels(ddim(guided, noise, scaled_linear(), "v_prediction", steps))]


def measure(model: Model, grid: Path | None = None, count: int = 32, seed: int = 11) -> dict[str, float]:
    """Share of pictures whose background, colour, shape, size and place are the caption's; one thing per picture."""
    scenes = [world.scene(random.Random(f"measure-{seed}-{n}"), pairs=0) for n in range(count)]
    images = drawn(model, [", ".join(scene.tags) for scene in scenes], seed)
    if grid is not None:
        sheet(images, 8).save(grid)
    return agreement(scenes, images)


def agreement(scenes: list[world.Scene], images: list[Image.Image]) -> dict[str, float]:
    right = dict.fromkeys(("ground", "colour", "shape", "size", "place"), 0)
    for scene, image in zip(scenes, images, strict=True):
        thing, seen = scene.things[0], see(image)
        wanted = Seen(scene.ground, thing.colour, thing.shape, thing.size, thing.place)
        for name in right:
            right[name] += getattr(seen, name) == getattr(wanted, name)
    return {name: round(number / len(scenes), 3) for name, number in right.items()}


def sheet(images: list[Image.Image], columns: int) -> Image.Image:
    """All in rows."""
    side = images[0].width
    whole = Image.new("RGB", (columns * side, -(-len(images) // columns) * side))
    for index, image in enumerate(images):
        whole.paste(image, (index % columns * side, index // columns * side))
    return whole
