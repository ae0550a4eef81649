"""sd-scripts' options, however they were written (metadata, TOML, command line, a GUI), in our field names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from . import sd_network, sd_optimizers
from .found import PATH_FIELDS, Found, shown, valid
from .schema import Settings
from .sd_options import NOTHING, WHY, is_off, option, silent

_TRAINED = {"unet_lr": "train_unet", "text_encoder_lr": "train_text_encoder"}
_ONLY = {"network_train_unet_only": "train_text_encoder", "network_train_text_encoder_only": "train_unet"}
_ELSEWHERE = {"optimizer_type", "optimizer_args", "network_module", "network_args", *_ONLY}  # read below, as a whole
_PATHS = set(PATH_FIELDS)
_LIMIT = 2000  # options of one file


@dataclass
class Carried:
    """`values` by our field names, unchecked; `lost` and `told` (translated) are lines for people."""

    values: dict[str, Any] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)


def carry(options: Mapping[str, Any]) -> Carried:
    """What is said, and only that. Values are texts, or what TOML or JSON made of them. Never raises."""
    found = Carried()
    texts = {str(name): _text(value) for name, value in list(options.items())[:_LIMIT]}
    for name, text in texts.items():
        if name not in _ELSEWHERE:
            _one(name, text, found)
    _parts(texts, found)
    _network(texts, options.get("network_args"), found)
    if texts.get("optimizer_type", "None") not in NOTHING:
        args, lost = sd_optimizers.listed(options.get("optimizer_args"))
        values, more = sd_optimizers.named(texts["optimizer_type"], args)
        found.values |= values
        found.lost += lost + more
    return found


def whole(options: Mapping[str, Any], source: str, folders: bool = False) -> Found:
    """A recipe from all options of a run: where they are silent, what sd-scripts does then.

    `folders`: whether to take the folders and the weights to continue from as well; only from the user's own file.
    """
    found = carry({"optimizer_type": "AdamW", **_without_nothing(options)})
    if not folders:
        for name in set(PATH_FIELDS) & set(found.values):
            found.lost.append(shown(name, found.values.pop(name), "choose it on the page"))
    said, refused = valid(found.values)
    default = {name: value for name, value in _training_defaults().items() if name not in said}
    assumed = {name: value for name, value in silent().items() if name not in said}
    if said.get("max_train_epochs"):  # they decide
        assumed.pop("max_train_steps", None)
    differs = [f"{name} = {value}" for name, value in assumed.items() if default.get(name) != value]
    if differs:
        found.told.append("not said, so as sd-scripts does: " + ", ".join(differs))
    return Found(default | assumed | said, source, refused + found.lost, found.told)


def _training_defaults() -> dict[str, Any]:
    """Of all options that sd-scripts has, so that nothing of an earlier form is left among what was imported."""
    nested = msgspec.to_builtins(Settings())
    groups = ("data", "captions", "network", "optimizer", "loss", "training")
    fields = {name: value for group in groups for name, value in nested[group].items()}
    return {name: value for name, value in fields.items() if name not in PATH_FIELDS and option(name)}


def _without_nothing(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None and value != ""}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value)


def _one(name: str, text: str, found: Carried) -> None:
    ours = option(name)
    if ours is None:
        if not is_off(name, text):
            found.lost.append(shown(name, text, WHY.get(name, "")))
        return
    if text in NOTHING:
        return
    try:
        value = ours.read(text)
    except (ValueError, KeyError, OverflowError):
        found.lost.append(shown(name, text))
        return
    found.values[ours.field] = value
    if ours.field != name or not _same(value, text):
        found.told.append(f"{shown(name, text)}: {ours.field} = {value}")


def _same(value: Any, text: str) -> bool:
    if isinstance(value, bool) or value == "auto":
        return True
    try:
        return str(value) == text or float(value) == float(text)
    except (TypeError, ValueError):
        return False


def _parts(texts: Mapping[str, str], found: Carried) -> None:
    """A rate given as 0 means there: not trained. Ours at 0 is the master rate."""
    for rate, part in _TRAINED.items():
        if rate not in texts or (texts[rate] not in NOTHING and rate not in found.values):
            continue
        found.values[part] = texts[rate] in NOTHING or found.values[rate] != 0
        if not found.values[part]:
            found.told.append(f"{shown(rate, texts[rate])}: {part} = False")
    for only, other in _ONLY.items():
        if texts.get(only, "").lower() in ("true", "1"):
            found.values[other] = False
            found.told.append(f"{only}: {other} = False")


def _network(texts: Mapping[str, str], args: Any, found: Carried) -> None:
    module = texts.get("network_module", "None")
    if module in NOTHING:
        return
    values, lost = sd_network.read(module, _pairs(args), texts)
    found.values |= values
    found.lost += lost


def _pairs(args: Any) -> dict[str, Any]:
    if isinstance(args, Mapping):
        return dict(args)
    items = args.replace('"', "").split() if isinstance(args, str) else args
    if not isinstance(items, (list, tuple)):
        return {}
    return {str(item).partition("=")[0]: str(item).partition("=")[2] for item in items if "=" in str(item)}
