"""The toy world the demo checkpoint is made from: scenes, their captions and how they are drawn."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Points = list[tuple[float, float]]

SIDE = 128  # pixels of a picture
COLOURS: dict[str, Colour] = {
    "red": (214, 48, 49),
    "green": (39, 174, 96),
    "blue": (41, 98, 255),
    "yellow": (255, 214, 10),
    "purple": (142, 68, 173),
    "orange": (243, 128, 25),
    "cyan": (0, 200, 212),
    "pink": (255, 128, 171),
    "white": (245, 245, 245),
    "black": (28, 28, 30),
}
GROUNDS: dict[str, Colour] = {
    "red": (236, 161, 162),
    "green": (157, 218, 183),
    "blue": (158, 184, 255),
    "yellow": (255, 236, 145),
    "purple": (204, 170, 218),
    "orange": (249, 197, 151),
    "cyan": (140, 230, 235),
    "pink": (255, 197, 217),
    "white": (250, 250, 250),
    "black": (58, 58, 60),
}
PLACES = {"left": (-0.2, 0.0), "right": (0.2, 0.0), "top": (0.0, -0.2), "bottom": (0.0, 0.2), "center": (0.0, 0.0)}
SIZES = {"large": (0.26, 0.32), "small": (0.15, 0.19)}  # radius in picture sides
PATTERNS = ("plain", "checkered", "striped", "gradient")
DARKER = 0.8  # the second tone of a pattern
_FINE = 4  # drawn this much larger and scaled down, for smooth edges


@dataclass(frozen=True)
class Thing:
    shape: str
    colour: str
    size: str
    place: str
    outline: bool
    x: float  # centre and radius in picture sides
    y: float
    radius: float


@dataclass(frozen=True)
class Scene:
    things: tuple[Thing, ...]  # one, or two from left to right
    ground: str
    pattern: str

    @property
    def tags(self) -> list[str]:
        """Booru style; a pair of things has no places, and plain ground no pattern."""
        first, *others = self.things
        tags = [f"{first.colour} {first.shape}", *(f"{other.colour} {other.shape}" for other in others)]
        if not others:
            tags += [first.size, first.place]
        if any(thing.outline for thing in self.things):
            tags.append("outline")
        tags.append(f"{self.ground} background")
        return tags if self.pattern == "plain" else [*tags, f"{self.pattern} background"]


def caption(scene: Scene, rng: random.Random, drop: float = 0.1) -> str:
    """The first tag first, the others in any order, each left out now and then."""
    first, *others = scene.tags
    rng.shuffle(others)
    return ", ".join([first, *(tag for tag in others if rng.random() >= drop)])


def scene(rng: random.Random, pairs: float = 0.12) -> Scene:
    """Any scene of the world; things never have the colour of their ground."""
    ground = rng.choice(list(GROUNDS))
    pattern = rng.choice(PATTERNS)
    if rng.random() < pairs:
        return Scene(tuple(_thing(rng, ground, "small", place) for place in ("left", "right")), ground, pattern)
    return Scene((_thing(rng, ground, rng.choice(list(SIZES)), rng.choice(list(PLACES))),), ground, pattern)


def _thing(rng: random.Random, ground: str, size: str, place: str) -> Thing:
    colour = rng.choice([name for name in COLOURS if name != ground])
    dx, dy = PLACES[place]
    return Thing(
        shape=rng.choice(list(SHAPES)),
        colour=colour,
        size=size,
        place=place,
        outline=rng.random() < 0.25,
        x=0.5 + dx + rng.uniform(-0.03, 0.03),
        y=0.5 + dy + rng.uniform(-0.03, 0.03),
        radius=rng.uniform(*SIZES[size]),
    )


def draw(what: Scene, side: int = SIDE) -> Image.Image:
    """The scene as an RGB picture of `side` pixels."""
    image = draw_ground(what.ground, what.pattern, side * _FINE)
    for thing in what.things:
        _draw_thing(image, thing)
    return image.resize((side, side), Image.Resampling.BOX)


def draw_ground(ground: str, pattern: str, side: int) -> Image.Image:
    """A background; cells and stripes are fractions of the side, a gradient darkens downwards."""
    light = GROUNDS[ground]
    dark = shade(light, DARKER)
    image = Image.new("RGB", (side, side), light)
    pen = ImageDraw.Draw(image)
    cell = side // 8
    if pattern == "checkered":
        for index in range(64):
            row, column = divmod(index, 8)
            if (row + column) % 2:
                pen.rectangle(_box(column * cell, row * cell, cell, cell), fill=dark)
    elif pattern == "striped":
        for row in range(1, 8, 2):
            pen.rectangle(_box(0, row * cell, side, cell), fill=dark)
    elif pattern == "gradient":
        for y in range(side):
            pen.line((0, y, side, y), fill=shade(light, 1 - 0.5 * y / side))
    return image


def shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (round(part * factor) for part in colour)
    return red, green, blue


def _box(x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
    return x, y, x + width - 1, y + height - 1


def _draw_thing(image: Image.Image, thing: Thing) -> None:
    side = image.width
    mask = silhouette(thing.shape, thing.x, thing.y, thing.radius, side)
    if thing.outline:
        wide = 0.016
        grown = [(dx * wide, dy * wide) for dx, dy in _around(16)]
        for dx, dy in grown:
            image.paste((20, 20, 20), mask=silhouette(thing.shape, thing.x + dx, thing.y + dy, thing.radius, side))
    image.paste(COLOURS[thing.colour], mask=mask)


def silhouette(shape: str, x: float, y: float, radius: float, side: int) -> Image.Image:
    """A mask ("L", 255 inside) of a shape; position and radius in sides."""
    mask = Image.new("L", (side, side))
    pen = ImageDraw.Draw(mask)
    for points, value in SHAPES[shape]():
        pen.polygon([((x + px * radius) * side, (y + py * radius) * side) for px, py in points], fill=value)
    return mask


def _around(count: int, radius: float = 1.0) -> Points:
    """Points on a circle, the first at the top."""
    angles = [2 * math.pi * index / count for index in range(count)]
    return [(radius * math.sin(angle), -radius * math.cos(angle)) for angle in angles]


Parts = list[tuple[Points, int]]


def _circle() -> Parts:
    return [(_around(64, 0.9), 255)]


def _ring() -> Parts:
    return [(_around(64), 255), (_around(64, 0.6), 0)]


def _square() -> Parts:
    return [([(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)], 255)]


def _triangle() -> Parts:
    return [([(0, -0.95), (1.0, 0.75), (-1.0, 0.75)], 255)]


def _star() -> Parts:
    outer, inner = _around(10, 1.05), _around(10, 0.45)
    return [([(inner if index % 2 else outer)[index] for index in range(10)], 255)]


def _cross() -> Parts:
    arm = 0.32
    return [([(-arm, -1), (arm, -1), (arm, 1), (-arm, 1)], 255), ([(-1, -arm), (1, -arm), (1, arm), (-1, arm)], 255)]


def _diamond() -> Parts:
    return [([(0, -1.1), (0.75, 0), (0, 1.1), (-0.75, 0)], 255)]


def _heart() -> Parts:
    curve = []
    for index in range(64):
        angle = 2 * math.pi * index / 64
        y = 13 * math.cos(angle) - 5 * math.cos(2 * angle) - 2 * math.cos(3 * angle) - math.cos(4 * angle)
        curve.append((math.sin(angle) ** 3, -y / 16))
    return [(curve, 255)]


SHAPES: dict[str, Callable[[], Parts]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "ring": _ring,
    "cross": _cross,
    "heart": _heart,
    "diamond": _diamond,
}
