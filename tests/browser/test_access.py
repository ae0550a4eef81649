"""Keyboard and screen reader: everything is reached by Tab alone, shows its focus and has a name; dialogs keep it."""

from __future__ import annotations

import re

import pytest
from browser_stage import finished, start

pytestmark = pytest.mark.browser
PANELS = ("pictures", "recipe", "bake", "results", "tools")
NAMED = "button|textbox|searchbox|link|checkbox|radio|combobox|slider|tab|progressbar|dialog|radiogroup|spinbutton|img"
WANTED = """(panel) => {
  const root = document.querySelector(panel);
  const all = [...root.querySelectorAll('button, input, select, textarea, summary, a[href], [tabindex]')];
  const radios = new Set();
  return all.filter((one) => {
    if (one.disabled || one.tabIndex < 0 || !one.checkVisibility()) return false;
    if (one.type !== 'radio') return true;
    if (one.checked || !radios.has(one.name)) return radios.add(one.name) && one.checked;
    return false;
  }).map((one, index) => { one.dataset.walk = String(index); return one.outerHTML.slice(0, 160); });
}"""
HERE = """() => {
  const one = document.activeElement;
  const style = getComputedStyle(one);
  const seen = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0;
  return [one.dataset.walk === undefined ? null : Number(one.dataset.walk), seen, one.outerHTML.slice(0, 160)];
}"""


def opened(page, name: str) -> str:
    page.click(f"#train_lora_tab_{name}")
    page.wait_for_selector(f"#train_lora_panel_{name} > *")
    page.wait_for_timeout(800)  # what the recipe's check finds is drawn
    page.wait_for_function("!trainLora.recipe.checking")
    return f"#train_lora_panel_{name}"


def unfold(page) -> None:
    """All settings, every group."""
    page.eval_on_selector_all("#train_lora_panel_recipe details", "(all) => all.forEach((one) => { one.open = true; })")


def walked(page, panel: str) -> tuple[list[str], dict[int, bool]]:
    """(what should be reached in the panel, what was by Tab: whether it showed)."""
    wanted = page.evaluate(WANTED, panel)
    reached: dict[int, bool] = {}
    page.focus(panel.replace("panel", "tab"))
    for _ in range(len(wanted) + 3):
        page.keyboard.press("Tab")
        number, seen, _ = page.evaluate(HERE)
        if number is not None:
            reached[number] = seen
    return wanted, reached


@pytest.mark.parametrize("name", PANELS)
def test_all_of_a_sub_tab_is_reached_by_tab_and_shows_it(ready, name):
    page = ready
    panel = opened(page, name)
    if name == "recipe":
        unfold(page)
    wanted, reached = walked(page, panel)
    assert wanted or name in ("results",)
    assert [what for number, what in enumerate(wanted) if number not in reached] == []
    assert [wanted[number] for number, seen in reached.items() if not seen] == []


def unnamed(page) -> list[str]:
    lines = page.locator("#train-lora-root").aria_snapshot().splitlines()
    assert len(lines) > 5
    return [line for line in lines if re.match(rf'\s*- ({NAMED})\b(?! ")', line)]


def test_every_control_has_a_name(ready):
    page = ready
    for name in PANELS:
        opened(page, name)
        if name == "recipe":
            unfold(page)
        assert unnamed(page) == [], name


def test_a_run_and_its_end_are_named_and_announced(ready, stage):
    page = ready
    stage.engine.steps = 2000
    start(page)
    page.wait_for_function("trainLora.status.job.progress")
    assert unnamed(page) == []
    bar = page.get_by_role("progressbar")
    assert bar.get_attribute("aria-valuetext").startswith("step ")
    page.click("#train_lora_stop")
    finished(page)
    live = page.eval_on_selector("#train_lora_outcome .tl-note", "(one) => one.closest('[aria-live]') !== null")
    assert live and unnamed(page) == []
    opened(page, "results")
    page.wait_for_selector(".tl-run:visible")
    assert unnamed(page) == []


def test_dialogs_keep_the_focus_and_give_it_back(ready):
    page = ready
    page.focus("#train_lora_import")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog")
    assert unnamed(page) == []
    for _ in range(9):
        page.keyboard.press("Tab")
        inside = "document.activeElement === document.body || document.activeElement.closest('dialog') !== null"
        assert page.evaluate(inside), "the page behind is out of reach"
    page.evaluate("document.addEventListener('keydown', (event) => { window.heard = event.key; })")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    assert page.evaluate("document.activeElement.id") == "train_lora_import"
    assert page.evaluate("window.heard") is None, "web UIs have shortcuts of their own"


def test_recipe_cards_are_one_stop_and_arrows_choose(ready):
    page = ready
    page.focus("[data-preset=easy]")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("[trainLora.recipe.preset, document.activeElement.dataset.preset]") == ["character"] * 2
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.dataset.preset") is None
