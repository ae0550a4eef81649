"""The families that can be trained, by name."""

from __future__ import annotations

from .loan import Family
from .sd1 import SD1
from .sd2 import SD2
from .sdxl import SDXL

FAMILIES: dict[str, Family] = {family.name: family for family in (SD1(), SD2(), SDXL())}
