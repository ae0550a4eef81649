"""Imports follow the layers of docs/architecture.md; the host and gradio stay in their rooms."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lib_lora_train"
LAYERS = [
    {"errors", "events", "settings"},
    {"data", "objectives", "families", "adapters", "export"},
    {"sampling", "engine", "tools"},
    {"hosts"},
    {"app"},
    {"ui"},
]
SIDEWAYS = {("families", "objectives"), ("adapters", "families"), ("engine", "sampling")}
SHARED_TYPES = {"families.loan"}  # anyone in the second layer may name these
HOST_MODULES = {"modules", "networks", "backend", "ldm_patched", "modules_forge", "ldm", "sgm", "network"}
FILES = sorted(PACKAGE.rglob("*.py"))


def _room(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def _imports(path: Path):
    """(absolute dotted name, node, whether at module level)"""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = ["lib_lora_train", *path.relative_to(PACKAGE).parts[:-1]]
    top = set(map(id, tree.body))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node, id(node) in top
        elif isinstance(node, ast.ImportFrom):
            if not node.level:
                yield node.module, node, id(node) in top
                continue
            base = package[: len(package) - node.level + 1]
            if node.module:
                yield ".".join([*base, node.module]), node, id(node) in top
            else:
                for alias in node.names:
                    yield ".".join([*base, alias.name]), node, id(node) in top


def _rank(room: str) -> int | None:
    return next((i for i, layer in enumerate(LAYERS) if room in layer), None)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_imports_follow_the_layers(path):
    room = _room(path)
    if room in ("__init__", "__main__"):
        return
    mine = _rank(room)
    assert mine is not None, f"{room} has no layer: add it to docs/architecture.md and here"
    for name, node, _ in _imports(path):
        if not name.startswith("lib_lora_train."):
            continue
        other = name.split(".")[1]
        theirs = _rank(other)
        if other == room or theirs is None or theirs < mine:
            continue
        allowed = theirs == mine and (
            (room, other) in SIDEWAYS or mine == 0 or name[15:].startswith(tuple(SHARED_TYPES))
        )
        assert allowed, f"{path.name}:{node.lineno}: {room} may not import {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_host_and_gradio_stay_in_their_rooms(path):
    room = _room(path)
    for name, node, at_top in _imports(path):
        root = name.split(".")[0]
        where = f"{path.name}:{node.lineno}"
        if root in HOST_MODULES:
            assert room == "hosts", f"{where}: the host's {name} outside hosts/"
            assert not at_top, f"{where}: import the host's {name} inside a function"
        if root == "gradio":
            assert room == "ui", f"{where}: gradio outside ui/"


@pytest.mark.parametrize("path", [*FILES, *sorted((ROOT / "scripts").glob("*.py"))], ids=lambda p: p.name)
def test_files_and_functions_stay_small_and_say_what_they_hold(path):
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert ast.get_docstring(tree), f"{path} does not say what it holds"
    assert text.count("\n") <= 320, f"{path} is crowded"
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno - node.lineno < 60, f"{path.name}: {node.name} is too long"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{path.name}:{node.lineno}: bare except"
