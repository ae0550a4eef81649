"""What must hold of every script and style rule the web UI loads for us."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = [*sorted((ROOT / "javascript").glob("*.js")), ROOT / "lib_lora_train" / "ui" / "standalone.js"]
STYLE = ROOT / "style.css"


def test_the_page_stays_light():
    assert sum(path.stat().st_size for path in SCRIPTS) < 100_000


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_data_never_becomes_markup(path):
    text = path.read_text(encoding="utf-8")
    for danger in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "srcdoc"):
        assert danger not in text, f"{path.name} uses {danger}"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_short_and_say_what_they_are(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("// ") and len(lines) < 300
    assert path.name == "standalone.js" or "'use strict';" in "\n".join(lines)
    globals_made = re.findall(r"^(?:var|let|const|function)\s+(\w+)", "\n".join(lines), re.MULTILINE)
    assert set(globals_made) <= {"trainLora", "gradioApp"}, "one name in the page's global scope"


def test_scripts_load_in_any_order():
    """Hosts do not promise an order: outside functions a script may use only the namespace itself."""
    for path in SCRIPTS[:-1]:
        for line in path.read_text(encoding="utf-8").splitlines():
            outer = re.match(r"  (?:const|let|var) (?!.*=>).*\btl\.(\w+)\.", line)
            assert not outer, f"{path.name}: {line.strip()} needs another script to be loaded before"


def _rules() -> list[tuple[str, str]]:
    """(selector, declarations), rules inside @media too."""
    text = re.sub(r"/\*.*?\*/", "", STYLE.read_text(encoding="utf-8"), flags=re.DOTALL)
    text = re.sub(r"@keyframes[^{]+\{(?:[^{}]*\{[^{}]*\})*[^{}]*\}", "", text)
    text = re.sub(r"@media[^{]+\{", "", text)
    return [(s.strip(" \n}"), d) for s, d in re.findall(r"([^{}]+(?:\}\s*)?[^{}]*)\{([^{}]*)\}", text)]


def _alone(selector: str) -> list[str]:
    """The selectors of a list; commas inside parentheses do not part them."""
    return [part.strip() for part in re.split(r",(?![^(]*\))", selector) if part.strip()]


def test_style_touches_nothing_but_our_own():
    rules = _rules()
    assert len(rules) > 50
    for selector, _ in rules:
        for one in _alone(selector):
            assert re.match(r"(\.dark )?#train-lora-root\b|\.train-lora-", one), one


def test_style_has_no_fixed_widths():
    for selector, declarations in _rules():
        widths = re.findall(r"(?<![-\w])(?:min-)?width:\s*(\d+)px", declarations)
        assert all(int(width) < 4 for width in widths), selector


def test_style_takes_its_colours_from_the_theme():
    text = STYLE.read_text(encoding="utf-8")
    for name in (
        "body-text-color",
        "background-fill-primary",
        "border-color-primary",
        "button-primary-background-fill",
    ):
        assert f"var(--{name}" in text
