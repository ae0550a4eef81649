"""Random sources that depend on nothing but what they are for, so batch, order and process do not matter."""

from __future__ import annotations

import hashlib
import random

import torch

from .types import SampleKey


def number(*parts: object) -> int:
    """63 bits from the parts' texts."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def rng(seed: int, key: SampleKey, purpose: str) -> random.Random:
    """For one decision about one sample."""
    return random.Random(number(seed, key.epoch, key.image, key.repeat, purpose))


def generator(seed: int, key: SampleKey, purpose: str) -> torch.Generator:
    """For one tensor of one sample; on the CPU."""
    return torch.Generator().manual_seed(number(seed, key.epoch, key.image, key.repeat, purpose))
