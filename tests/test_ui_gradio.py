"""gradio's versions differ in one file of ours, which works with whatever version is installed."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

gradio = pytest.importorskip("gradio")

from lib_lora_train.ui import gradio_compat  # noqa: E402

ROOT = Path(__file__).parents[1]
COMPAT = ROOT / "lib_lora_train" / "ui" / "gradio_compat.py"
SOURCES = [
    path for folder in ("lib_lora_train", "scripts", "demo") for path in sorted((ROOT / folder).rglob("*.py"))
] + [ROOT / "install.py"]
SCRIPTS = sorted([*(ROOT / "javascript").rglob("*.js"), *(ROOT / "lib_lora_train").rglob("*.js")])
SHARED = {"Blocks", "Button", "Column", "Error", "HTML", "Image", "Markdown", "Number", "Row", "Tab", "Tabs", "Textbox"}


def asks_for_a_version(node: ast.AST) -> bool:
    """`gr.__version__`, `version("gradio")`, `hasattr(gr, ...)`, `getattr(gr, ...)`, `signature(gr.X)`."""
    if isinstance(node, ast.Attribute):
        return node.attr == "__version__" and ast.unparse(node.value) in ("gr", "gradio")
    if not isinstance(node, ast.Call):
        return False
    name, first = ast.unparse(node.func), ast.unparse(node.args[0]) if node.args else ""
    asked = name.split(".")[-1] in ("version", "hasattr", "getattr", "signature", "find_spec")
    return asked and bool(re.match(r"(gr|gradio)\b|['\"]gradio['\"]", first))


@pytest.mark.parametrize("path", [path for path in SOURCES if path != COMPAT], ids=lambda p: p.name)
def test_no_other_file_asks_which_gradio_it_is(path: Path):
    asked = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if asks_for_a_version(node)]
    assert not asked, f"{path.name}:{asked[0].lineno} belongs into ui/gradio_compat.py"


def test_no_script_asks_either():
    for path in SCRIPTS:
        assert not re.search(r"gradio_config|gradio.?version", path.read_text(encoding="utf-8")), path.name


def test_components_used_elsewhere_are_in_every_version():
    """With constructor arguments only; event handlers and updates would differ."""
    for path in SOURCES:
        if path == COMPAT:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        used = {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "gr"
        }
        assert used <= SHARED, f"{path.name} uses {used - SHARED}"


def test_what_the_file_makes_exists_here():
    with (
        gradio_compat.blocks("Title", fill_width=True) as page,
        gradio.Tabs(),
        gradio_compat.tab("Train LoRA", "train_lora"),
    ):
        made = gradio_compat.html("<i>text</i>", "frame")
    assert made.do_not_save_to_config and made.elem_id == "frame" and made.value == "<i>text</i>"
    tab = next(block for block in page.blocks.values() if isinstance(block, gradio.Tab))
    assert (tab.id, tab.elem_id) == ("train_lora", "tab_train_lora")


def test_only_known_arguments_are_handed_over():
    def older(value, label=None): ...

    assert gradio_compat._known(older, label="a", padding=False) == {"label": "a"}
