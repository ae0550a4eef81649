"""Optimisers as sd-scripts names them: by its option or by their class, with their arguments; nothing is evaluated."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from .sd_options import NOTHING

# By option or by the last part of the class, lower-cased: our name, and the library's own defaults where ours differ
# from them, so that what the file leaves out stays as it was there.
_ADAPT = {"decouple": "False", "weight_decay": "0", "betas": "0.9,0.999"}
_PRODIGY = {**_ADAPT, "decouple": "True", "d_coef": "1.0", "use_bias_correction": "False", "safeguard_warmup": "False"}
_ADAFACTOR = {"relative_step": "True", "scale_parameter": "True", "warmup_init": "False"}
_NESTEROV = {"momentum": "0.9", "nesterov": "True"}
_PLAIN_DECAY = {"weight_decay": "0"}
KINDS: dict[str, tuple[str, dict[str, str]]] = {
    "adamw": ("AdamW", {}),
    "adamw8bit": ("AdamW8bit", {}),
    "pagedadamw8bit": ("PagedAdamW8bit", {}),
    "prodigy": ("Prodigy", _PRODIGY),
    "dadaptadam": ("DAdaptAdam", _ADAPT),
    "dadaptlion": ("DAdaptLion", {}),
    "adafactor": ("AdaFactor", _ADAFACTOR),
    "adamwschedulefree": ("AdamWScheduleFree", _PLAIN_DECAY),
    "came": ("CAME", _PLAIN_DECAY),
    "lion": ("Lion", {}),
    "lion8bit": ("Lion8bit", {}),
    "sgdnesterov": ("SGDNesterov", _NESTEROV),
    "sgdnesterov8bit": ("SGDNesterov8bit", _NESTEROV),
    "sgd": ("SGDNesterov", {"momentum": "0", "nesterov": "False"}),
    "sgd8bit": ("SGDNesterov8bit", {"momentum": "0", "nesterov": "False"}),
    # the D-Adaptation of the older guides, whose class is no longer kept up
    "dadaptation": ("DAdaptAdam", _ADAPT),
    "dadaptadampreprint": ("DAdaptAdam", _ADAPT),
}
_LONGEST = 500  # characters


def named(text: str, args: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """`AdamW8bit` or `torch.optim.adamw.AdamW` with its arguments as (our fields, what is lost)."""
    if text in NOTHING:
        text = "AdamW"  # what sd-scripts takes
    kind, defaults = KINDS.get(text.split(".")[-1].strip().lower(), ("", {}))
    if not kind:
        return {}, [f"optimizer = {text[:60]}", *(f"optimizer_args {k} = {v}"[:120] for k, v in args.items())]
    written = " ".join(f"{name}={value}" for name, value in {**defaults, **args}.items())
    return {"optimizer_type": kind, "optimizer_args": written}, []


def called(text: str) -> tuple[str, dict[str, str], list[str]]:
    """`torch.optim.adamw.AdamW(weight_decay=0.01,betas=(0.9, 0.99))` as (class, arguments, what is lost)."""
    path, _, inside = text.partition("(")
    try:
        return path, _call(inside.removesuffix(")")), []
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return path, {}, [f"optimizer arguments = {inside[:60]}"]


def listed(items: Any) -> tuple[dict[str, str], list[str]]:
    """`["weight_decay=0.01", "betas=0.9,0.99"]`, the same in one text, or a mapping: (arguments, what is lost)."""
    if isinstance(items, Mapping):
        items = [f"{name}={value}" for name, value in items.items()]
    elif isinstance(items, str):
        items = items.replace('"', "").replace("'", "").split()
    args: dict[str, str] = {}
    lost: list[str] = []
    for item in items if isinstance(items, (list, tuple)) else []:
        name, equals, value = (part.strip() for part in str(item)[:_LONGEST].partition("="))
        try:
            if not (name.isidentifier() and equals):
                raise ValueError(item)
            args[name] = _literal(ast.literal_eval(value))
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            lost.append(f"optimizer_args {str(item)[:60]}")
    return args, lost


def _call(text: str) -> dict[str, str]:
    """`a=1,betas=(0.9, 0.99)` by name, as we write them. Raises ValueError or SyntaxError on all but literals."""
    if len(text) > _LONGEST:
        raise ValueError("too long")
    call = ast.parse(f"f({text})", mode="eval").body
    if not isinstance(call, ast.Call) or call.args or any(keyword.arg is None for keyword in call.keywords):
        raise ValueError(text)
    return {str(keyword.arg): _literal(ast.literal_eval(keyword.value)) for keyword in call.keywords}


def _literal(value: Any) -> str:
    if isinstance(value, (tuple, list)) and value and all(isinstance(v, (int, float, type(None))) for v in value):
        return ",".join(str(v) for v in value)
    if isinstance(value, (bool, int, float, type(None))):
        return str(value)
    raise ValueError("no plain value")
