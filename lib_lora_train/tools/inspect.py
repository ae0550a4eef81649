"""What is in a LoRA file: kind, ranks, modules, metadata and recipe, from the header and the alphas alone."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ..errors import ExportError
from ..export import lora_file
from ..export.lora_file import TensorInfo
from ..settings.from_metadata import Found, recipe_of

_PARTS = (
    ("lora_unet_", "unet"),
    ("lora_te1_", "text_encoder_1"),
    ("lora_te2_", "text_encoder_2"),
    ("lora_te_", "text_encoder"),
)
# part of a tensor's name behind its module: the kind of network
_KINDS = {
    "lora_down": "LoRA",
    "lora_A": "LoRA",
    "hada_w1_a": "LoHa",
    "lokr_w1": "LoKr",
    "lokr_w1_a": "LoKr",
    "on_input": "IA3",
    "oft_blocks": "OFT",
    "oft_diag": "OFT",
    "a1": "GLoRA",
    "w_norm": "norm",
    "diff": "full",
}
_TENSOR = re.compile(
    r"(lora|hada|lokr|oft)_|(diff|diff_b|alpha|dora_scale|on_input|rescale|[wb]_norm|[ab][12]|weight|bias)$"
)
_RANKED = ("lora_down", "lora_A", "hada_w1_b", "lokr_w2_b")  # tensors whose first side is the rank


@dataclass(frozen=True)
class Report:
    """Counters go from a value to the number of modules that have it. `hash_ok` is None when the file has no hash."""

    path: Path
    size: int  # bytes
    kind: str
    parts: dict[str, int]
    ranks: dict[int, int]
    conv_ranks: dict[int, int]  # of kernels larger than 1x1
    alphas: dict[float, int]
    dtypes: dict[str, int]
    metadata: dict[str, str]
    recipe: Found
    hash_ok: bool | None


def inspect(path: Path) -> Report:
    """Raises ExportError: no safetensors file, cut off, damaged. The file is neither changed nor renamed."""
    header = lora_file.read_header(path)
    tensors = header.tensors
    modules = {_split(name)[0] for name in tensors}
    down = {name: info.shape for name, info in tensors.items() if _split(name)[1] in _RANKED and info.shape}
    conv = {name: shape for name, shape in down.items() if len(shape) == 4 and shape[2:] != (1, 1)}
    recorded = header.metadata.get("sshs_model_hash")
    return Report(
        path=path,
        size=path.stat().st_size,
        kind=_kind(tensors, bool(conv)),
        parts=dict(Counter(_part(module) for module in sorted(modules))),
        ranks=_counted(shape[0] for name, shape in down.items() if name not in conv),
        conv_ranks=_counted(shape[0] for shape in conv.values()),
        alphas=_counted(_alphas(path, tensors)),
        dtypes=_counted(info.dtype for info in tensors.values()),
        metadata=header.metadata,
        recipe=recipe_of(header.metadata),
        hash_ok=None if recorded is None else recorded.removeprefix("0x") == lora_file.model_hash(path),
    )


def text(report: Report) -> str:
    """For a terminal; control characters of foreign metadata are shown, not obeyed."""
    found = report.recipe
    rows = {
        "file": f"{report.path.name}, {report.size / 2**20:.2f} MiB",
        "kind": report.kind,
        "modules": ", ".join(f"{count} in {part}" for part, count in report.parts.items()),
        "rank": _spread(report.ranks),
        "convolution rank": _spread(report.conv_ranks),
        "alpha": _spread(report.alphas),
        "precision": _spread(report.dtypes),
        "hash": {None: "none in the file", True: "right", False: "WRONG: the tensors were changed"}[report.hash_ok],
        "base model": report.metadata.get("ss_sd_model_name", ""),
        "trained": _trained(report.metadata),
        "recipe": {"ours": "whole, Train LoRA's own", "other": "as far as its trainer tells", "none": "none"}[
            found.source
        ],
        **{f"  {name}": str(value) for name, value in found.settings.items()},
        "not carried over": "; ".join(found.not_carried),
    }
    return "\n".join(f"{name:<26} {_printable(value)}".rstrip() for name, value in rows.items() if value != "")


def _split(name: str) -> tuple[str, str]:
    """(module, what of it the tensor is); names of other programs have dots inside the module."""
    parts = name.split(".")
    where = next((i for i in range(1, len(parts)) if _TENSOR.match(parts[i])), 1)
    return ".".join(parts[:where]), ".".join(parts[where : where + 1])


def _part(module: str) -> str:
    return next((part for prefix, part in _PARTS if module.startswith(prefix)), "other")


def _kind(tensors: Mapping[str, TensorInfo], conv: bool) -> str:
    suffixes = {_split(name)[1] for name in tensors}
    kinds = {_KINDS[suffix] for suffix in suffixes if suffix in _KINDS}
    if any(_split(name)[1] == "oft_blocks" and len(info.shape) == 4 for name, info in tensors.items()):
        kinds = kinds - {"OFT"} | {"BOFT"}
    names = sorted("LoCon" if kind == "LoRA" and conv else kind for kind in kinds) or ["no LoRA"]
    return " + ".join(names) + (" (DoRA)" if "dora_scale" in suffixes else "")


def _alphas(path: Path, tensors: Mapping[str, TensorInfo]) -> list[float]:
    names = [n for n, info in tensors.items() if n.endswith(".alpha") and math.prod(info.shape) == 1]
    try:
        with safe_open(str(path), framework="pt") as file:
            return [float(file.get_tensor(name)) for name in names]
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise ExportError(f"{path.name} cannot be read: {error}.", "Choose another file.") from error


def _counted(values: Iterable[Any]) -> dict[Any, int]:
    return dict(sorted(Counter(values).items()))


def _spread(counts: Mapping[Any, int]) -> str:
    """`32` when all modules agree, else `16 (x24), 32 (x168)`."""
    shown = {f"{value:g}" if isinstance(value, float) else str(value): count for value, count in counts.items()}
    return ", ".join(shown if len(shown) == 1 else (f"{value} (x{count})" for value, count in shown.items()))


def _trained(metadata: Mapping[str, str]) -> str:
    steps, epochs = metadata.get("ss_steps", ""), metadata.get("ss_epoch", "")
    return f"{steps} steps, {epochs} epochs" if steps else ""


def _printable(value: str) -> str:
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in value)[:2000]
