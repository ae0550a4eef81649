"""What must hold of every script and style rule the web UI loads for us."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
UI = ROOT / "lib_lora_train" / "ui"
START = [*sorted((ROOT / "javascript").glob("*.js")), ROOT / "style.css"]  # on the web UI's page from its start
SCRIPTS = [*sorted((ROOT / "javascript").glob("*.js")), *sorted((UI / "page").rglob("*.js")), UI / "standalone.js"]
STYLE = UI / "page" / "tab" / "style.css"


def _weight(paths) -> int:
    return sum(path.stat().st_size for path in paths)


def test_the_web_uis_page_stays_light():
    assert _weight(START) < 15_000
    assert _weight([*START, *(UI / "page" / "tab").iterdir()]) < 170_000, "with what the first look at the tab loads"


def test_the_web_uis_own_page_gets_rules_for_nothing_but_our_button():
    selectors = re.findall(r"^([^/{]+)\{", (ROOT / "style.css").read_text(encoding="utf-8"), re.MULTILINE)
    assert selectors and all(one.startswith(".train-lora-") for one in selectors)


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
