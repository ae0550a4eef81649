"""How elaborate a subject is: the guides' classes A to I, and the rank and steps that each asks for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Level:
    """`low` to `high` is the guides' range of ranks; `rank` and `steps` are what the recipe gets."""

    letter: str
    examples: str
    low: int
    high: int
    rank: int
    steps: int


# Ranks: the guides' list. Steps: from their 800 for the simplest character to 3000 and more for the hardest.
LEVELS = (
    Level("A", "a simple, realistic person", 4, 8, 8, 800),
    Level("B", "unusual hair or clothes", 4, 16, 12, 900),
    Level("C", "elaborate: wings, armour, many details; simple vehicles", 8, 32, 24, 1000),
    Level("D", "humanoid animals, real humans", 32, 64, 48, 1200),
    Level("E", "chibi-like creatures; most vehicles", 64, 64, 64, 1400),
    Level("F", "animals, ornate armour", 64, 128, 96, 1600),
    Level("G", "mechs, many limbs; vehicles true to life", 128, 128, 128, 2000),
    Level("H", "insects, dragons", 128, 192, 160, 2500),
    Level("I", "eldritch things", 192, 256, 224, 3000),
)
HALF_MALE = 0.5  # classes that a male character counts harder
NETWORKS = ("LoRA", "LoCon", "DyLoRA")  # whose ranks the guides speak of
KNOWN = 1.0  # classes that a subject counts easier which the base model can draw already


def advised(level: float) -> tuple[int, int]:
    """(rank, steps) of a class from 0 (A) to 8 (I), also between two; outside it is the nearest.

    Ranks between two classes are rounded to a multiple of 4, steps to one of 50.
    """
    place = min(max(level, 0.0), len(LEVELS) - 1.0)
    below = LEVELS[int(place)]
    above = LEVELS[min(int(place) + 1, len(LEVELS) - 1)]
    share = place - int(place)
    rank = below.rank + share * (above.rank - below.rank)
    steps = below.steps + share * (above.steps - below.steps)
    return max(4, 4 * round(rank / 4)), 50 * round(steps / 50)


def table() -> dict[str, object]:
    """For the page: classes with what they are, and what each half class asks for."""
    classes = [{"letter": one.letter, "examples": one.examples, "low": one.low, "high": one.high} for one in LEVELS]
    halves = [dict(zip(("rank", "steps"), advised(step / 2), strict=True)) for step in range(2 * len(LEVELS) - 1)]
    return {"classes": classes, "halves": halves, "male": HALF_MALE, "known": KNOWN, "networks": NETWORKS}
