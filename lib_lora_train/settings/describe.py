"""The schema as plain data, for the form, the API and docs/options.md."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import inspect

from . import shown
from .schema import Section, Settings, groups


def describe() -> list[dict[str, Any]]:
    """Groups in order: `{name, title, fields: [{name, label, help, unit, type, choices, min, max, advice, default,
    lines, when}]}`.

    `type` is one of bool, int, float, text, choice; `lines`: above 1 for long texts; `when`: shown.WHEN.
    """
    defaults = Settings()
    return [
        {
            "name": name,
            "title": _title(struct),
            "fields": [_field(struct, f, getattr(defaults, name)) for f in _fields(struct)],
        }
        for name, struct in groups().items()
    ]


def _title(struct: type[Section]) -> str:
    return (struct.__doc__ or "").strip().splitlines()[0]


def _fields(struct: type[Section]) -> tuple[inspect.Field, ...]:
    return inspect.type_info(struct).fields


def _field(struct: type[Section], field: inspect.Field, defaults: Section) -> dict[str, Any]:
    kind, extra, help = field.type, {}, ""
    if isinstance(kind, inspect.Metadata):
        extra = kind.extra or {}
        help = (kind.extra_json_schema or {}).get("description", "")
        kind = kind.type
    return {
        "name": field.name,
        "label": extra.get("label", field.name),
        "help": help,
        "unit": extra.get("unit", ""),
        "advice": extra.get("advice"),
        "default": getattr(defaults, field.name),
        "lines": shown.LINES.get(field.name, 1),
        "when": shown.WHEN.get(field.name, {}),
        **_kind(struct, field.name, kind),
    }


def _kind(struct: type[Section], name: str, kind: Any) -> dict[str, Any]:
    if isinstance(kind, inspect.LiteralType):
        annotated = get_type_hints(struct)[name]  # msgspec sorts the choices; the schema's order is for people
        literal = annotated if get_origin(annotated) is Literal else get_args(annotated)[0]
        return {"type": "choice", "choices": list(get_args(literal))}
    if isinstance(kind, inspect.BoolType):
        return {"type": "bool"}
    if isinstance(kind, (inspect.IntType, inspect.FloatType)):
        number = "int" if isinstance(kind, inspect.IntType) else "float"
        return {"type": number, "min": kind.ge, "max": kind.le}
    return {"type": "text"}


@lru_cache(maxsize=1)
def fields() -> dict[str, dict[str, Any]]:
    """Field name to its description."""
    return {field["name"]: field for group in describe() for field in group["fields"]}


def hint(name: str) -> str:
    """What `name` may be, in a sentence."""
    field = fields()[name]
    return f"{field['label']} is {_allowed(field)}."


def _allowed(field: dict[str, Any]) -> str:
    if field["type"] == "choice":
        return "one of " + ", ".join(str(c) for c in field["choices"])
    if field["type"] == "bool":
        return "true or false"
    if field["type"] == "text":
        return f"a text like {field['default']!r}" if field["default"] else "a text"
    noun = "a whole number" if field["type"] == "int" else "a number"
    low, high = field["min"], field["max"]
    return noun + (f" from {low}" if low is not None else "") + (f" to {high}" if high is not None else "")


def options_markdown() -> str:
    """docs/options.md."""
    lines = ["# Options", "", "Made from the schema by `python dev.py docs`; do not edit.", ""]
    for group in describe():
        lines += [
            f"## {group['title']} (`[{group['name']}]`)",
            "",
            "| option | default | what |",
            "| --- | --- | --- |",
        ]
        lines += [_row(field) for field in group["fields"]]
        lines.append("")
    return "\n".join(lines)


def _row(field: dict[str, Any]) -> str:
    parts = [field["label"] + (f" ({field['unit']})" if field["unit"] else "") + ".", field["help"]]
    if field.get("choices"):
        parts.append("One of: " + ", ".join(f"`{c}`" for c in field["choices"]) + ".")
    bounds = [
        f"{word} {field[key]}" for key, word in (("min", "at least"), ("max", "at most")) if field.get(key) is not None
    ]
    if bounds:
        parts.append(", ".join(bounds).capitalize() + ".")
    if field["advice"]:
        parts.append(f"Usual: {field['advice'][0]} .. {field['advice'][1]}.")
    default = msgspec.json.encode(field["default"]).decode()
    return f"| `{field['name']}` | `{default}` | {' '.join(p for p in parts if p).replace('|', chr(92) + '|')} |"
