"""Routes of recipes and LoRA files: cards for what is loaded, own recipes, files in and out, a file looked into."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ..settings import imports
from . import fitting, looking, own_recipes
from .desk import Ask, Desk, Handler
from .outlines import outline_of


def presets(desk: Desk, ask: Ask) -> dict[str, Any]:
    return {"presets": fitting.cards(desk.host.status(), outline_of(desk.host))}


def listing(desk: Desk, ask: Ask) -> dict[str, Any]:
    return {"recipes": own_recipes.listing(desk.host.data_dir())}


def save(desk: Desk, ask: Ask) -> dict[str, Any]:
    own_recipes.save(desk.host.data_dir(), ask.text("name"), ask.settings(), ask.values.get("replace") is True)
    return listing(desk, ask)


def rename(desk: Desk, ask: Ask) -> dict[str, Any]:
    own_recipes.rename(desk.host.data_dir(), ask.text("name"), ask.text("to"))
    return listing(desk, ask)


def delete(desk: Desk, ask: Ask) -> dict[str, Any]:
    undo = own_recipes.delete(desk.host.data_dir(), ask.text("name"))
    return {"undo": undo, **listing(desk, ask)}


def restore(desk: Desk, ask: Ask) -> dict[str, Any]:
    name = own_recipes.restore(desk.host.data_dir(), ask.text("undo"))
    return {"name": name, **listing(desk, ask)}


def text(desk: Desk, ask: Ask) -> dict[str, Any]:
    return {"text": own_recipes.text(ask.settings())}


def foreign(desk: Desk, ask: Ask) -> dict[str, Any]:
    """Another program's recipe as ours; `text` is the file's, or the header's of a LoRA."""
    return asdict(imports.read(ask.text("name"), ask.text("text")))


def inspect(desk: Desk, ask: Ask) -> dict[str, Any]:
    return looking.by_name(desk.host.lora_dir(), ask.text("name"))


def inspect_file(desk: Desk, ask: Ask) -> dict[str, Any]:
    """`received` is the file with the request's body, put there by the wrapper."""
    return looking.uploaded(ask.values["received"], ask.text("name") or "LoRA.safetensors")


GET: dict[str, Handler] = {"presets": presets, "recipes": listing, "inspect": inspect}
FILES: dict[str, Handler] = {"inspect": inspect_file}
POST: dict[str, Handler] = {
    "recipes": save,
    "recipes/rename": rename,
    "recipes/delete": delete,
    "recipes/restore": restore,
    "recipes/text": text,
    "import": foreign,
}
