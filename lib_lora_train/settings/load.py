"""Mappings (form, JSON, TOML, command line) to Settings and back; a refusal names the field and what it may be."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import msgspec

from ..errors import SettingsError
from .describe import hint
from .schema import Settings, group_of, groups

RECIPE_VERSION = 1
_SHARES = {"lr_warmup_steps"}  # steps, or a share of the run
_LARGEST = 2**63 - 1  # what every file format and library in the chain can hold
# msgspec looks at a type when it is first converted to; threads that do so at the same time crash the process
msgspec.convert({}, Settings)


def from_mapping(mapping: Mapping[str, Any], base: Settings | None = None) -> Settings:
    """A recipe from `{field: value}` or `{group: {field: value}}`, over `base` (defaults when None).

    Raises SettingsError: unknown name (with the nearest one), ill-typed or impossible value, a recipe made by a newer
    version of this program.
    """
    if not isinstance(mapping, Mapping):
        raise SettingsError("A recipe is a table of options.", f"Got {type(mapping).__name__}.")
    flat = _flatten(mapping)
    nested = msgspec.to_builtins(base or Settings())
    for name, value in flat.items():
        nested[group_of()[name]][name] = _spelled(name, value)
    try:
        settings = msgspec.convert(nested, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise _explained(error, flat) from error
    for name, value in to_mapping(settings).items():
        if isinstance(value, (int, float)) and not abs(value) <= _LARGEST:  # also what is not a number
            raise _impossible(name, flat.get(name, value))
    return settings


def to_mapping(settings: Settings) -> dict[str, Any]:
    """`{field: value}` of all fields, in the schema's order."""
    return {name: value for group in msgspec.to_builtins(settings).values() for name, value in group.items()}


def changed(settings: Settings, base: Settings | None = None) -> dict[str, Any]:
    """The fields in which `settings` differs from `base` (the defaults when None)."""
    before = to_mapping(base or Settings())
    return {name: value for name, value in to_mapping(settings).items() if value != before[name]}


def _flatten(mapping: Mapping[str, Any]) -> dict[str, Any]:
    _check_version(mapping.get("recipe_version", RECIPE_VERSION))  # before what only a newer version knows
    flat: dict[str, Any] = {}
    for name, value in mapping.items():
        if name == "recipe_version":
            continue
        if name in groups():
            if not isinstance(value, Mapping):
                raise SettingsError(
                    f"`{name}` is a group of options, not a value.", f"Write it as a table [{name}].", name
                )
            for inner, inner_value in value.items():
                flat[_known(inner)] = inner_value
        else:
            flat[_known(name)] = value
    return flat


def _check_version(version: Any) -> None:
    if not isinstance(version, int) or version > RECIPE_VERSION:
        raise SettingsError(
            f"This recipe has version {version}; this Train LoRA reads up to {RECIPE_VERSION}.",
            "Update the extension, or remove the options it does not know together with `recipe_version`.",
            "recipe_version",
        )


def _known(name: str) -> str:
    if name in group_of():
        return name
    near = difflib.get_close_matches(str(name), group_of(), n=1, cutoff=0.5)
    raise SettingsError(
        f"Unknown option `{str(name)[:80]}`.",
        f"Did you mean `{near[0]}`?" if near else "See docs/options.md for the names.",
        str(name)[:80],
    )


def _spelled(name: str, value: Any) -> Any:
    """What people write for a text field: 512 for "512", [512, 768] for "512x768", "10%" for 0.1."""
    if name in _SHARES and isinstance(value, str) and value.strip().endswith("%"):
        return _share(name, value)
    default = getattr(getattr(Settings(), group_of()[name]), name)
    if isinstance(default, str) and not isinstance(value, str):
        if isinstance(value, (list, tuple)):
            return "x".join(str(v) for v in value)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return str(value)
    return value


def _share(name: str, text: str) -> float:
    try:
        share = float(text.strip().removesuffix("%")) / 100
    except ValueError:
        raise _impossible(name, text) from None
    if not 0 <= share < 1:  # from 1 on it would be steps
        raise _impossible(name, text)
    return share


def _explained(error: msgspec.ValidationError, given: Mapping[str, Any]) -> SettingsError:
    path = str(error).partition(" - at `$.")[2]
    field = path.rstrip("`").split(".")[-1].split("[")[0]
    if field not in group_of():
        return SettingsError(f"The recipe cannot be read: {error}.", "See docs/options.md.", field)
    return _impossible(field, given.get(field))


def _impossible(field: str, value: Any) -> SettingsError:
    endless = isinstance(value, int) and abs(value) > _LARGEST
    shown = "that large" if endless else repr(str(value)[:80])
    return SettingsError(f"`{field}` cannot be {shown}.", hint(field), field)
