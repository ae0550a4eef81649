"""A small captioned data set, drawn here: coloured shapes on plain ground, the same on every machine."""

from __future__ import annotations

import random
from pathlib import Path

from PIL import Image, ImageDraw

COLOURS = {"red": "#d33", "green": "#2a2", "blue": "#36c", "yellow": "#eb2", "purple": "#83a"}
GROUNDS = {"white": "#fff", "grey": "#999", "black": "#111"}
SIZES = ((128, 128), (128, 192), (192, 128))


def make(folder: Path, count: int = 12, name: str = "4_blob", seed: int = 7) -> Path:
    """`count` pictures with captions in the concept folder `folder/name`; returns `folder`. Existing ones are kept."""
    concept = folder / name
    concept.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    for index in range(count):
        colour, ground = rng.choice(sorted(COLOURS)), rng.choice(sorted(GROUNDS))
        size = SIZES[index % len(SIZES)]
        picture = concept / f"blob-{index:02}.png"
        if not picture.exists():
            _draw(size, COLOURS[colour], GROUNDS[ground], rng.uniform(0.25, 0.4)).save(picture)
            picture.with_suffix(".txt").write_text(f"blob, {colour} eyes, {ground} background\n", encoding="utf-8")
    return folder


def _draw(size: tuple[int, int], colour: str, ground: str, reach: float) -> Image.Image:
    image = Image.new("RGB", size, ground)
    draw = ImageDraw.Draw(image)
    (width, height), radius = size, reach * min(size)
    x, y = width / 2, height / 2
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill="#e85", outline="#630", width=3)
    for side in (-1, 1):
        ex, eye = x + side * radius / 2.5, radius / 5
        draw.ellipse((ex - eye, y - eye, ex + eye, y + eye), fill=colour)
    return image
