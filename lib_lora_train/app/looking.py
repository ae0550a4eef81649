"""A LoRA file looked into for the page: kind, ranks, metadata, recipe, how much it changes each block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..tools.inspect import inspect
from ..tools.norms import norms
from .loras import find
from .uploads import safe_parts

_LONGEST, _MOST = 4000, 300  # characters of an entry, entries


def by_name(lora_dir: Path, name: str) -> dict[str, Any]:
    """Of a LoRA in the host's folder by its card's name. Raises NotFound, ExportError."""
    return look(find(lora_dir, name), name)


def uploaded(received: Path, name: str) -> dict[str, Any]:
    """Of a file sent by the page, which is gone afterwards; messages call it by its own `name`."""
    path = received.with_name(safe_parts(name.replace("/", "_"))[-1])
    received.rename(path)
    return look(path, path.name)


def look(path: Path, name: str) -> dict[str, Any]:
    """Shape: docs/architecture.md, `inspect`. Raises ExportError: no LoRA file, or damaged."""
    report, found = inspect(path), norms(path)
    return {
        "name": name,
        "kind": report.kind,
        "size_mb": round(report.size / 1e6, 2),
        "parts": report.parts,
        "ranks": _pairs(report.ranks),
        "conv_ranks": _pairs(report.conv_ranks),
        "alphas": _pairs(report.alphas),
        "dtypes": report.dtypes,
        "hash_ok": report.hash_ok,
        "recipe": asdict(report.recipe),
        "metadata": {key[:200]: text[:_LONGEST] for key, text in list(report.metadata.items())[:_MOST]},
        "blocks": [asdict(block) for block in found.blocks],
        "unknown": found.unknown,
    }


def _pairs(counts: Mapping[Any, int]) -> list[list[float]]:
    """`[value, modules]`: a number is no name in JSON."""
    return [[value, count] for value, count in counts.items()]
