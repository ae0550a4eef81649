"""The page as a whole: sub-tabs, polling, the host's translations."""

from __future__ import annotations

import pytest
from browser_stage import open_tab, show, start

pytestmark = pytest.mark.browser


def test_sub_tabs_move_by_keys(page, stage):
    open_tab(page, stage.address)
    page.focus("#train_lora_tab_pictures")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "train_lora_tab_recipe"
    page.keyboard.press("End")
    assert page.get_attribute("#train_lora_tab_tools", "aria-selected") == "true"
    page.wait_for_selector("#train_lora_panel_tools > section")
    assert page.is_visible("#train_lora_panel_tools") and not page.is_visible("#train_lora_panel_recipe")


def test_polling_is_calm_and_survives_a_lost_network(ready, stage):
    page = ready
    stage.engine.steps = 2000
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    def polls() -> int:
        return sum(url.endswith("/status") for url in asked)

    start(page)
    page.wait_for_timeout(1000)
    asked.clear()
    page.wait_for_timeout(5000)
    assert 3 <= polls() <= 6, "once a second while a run is watched"
    page.context.set_offline(True)
    page.wait_for_selector(".tl-note:has-text('does not answer')")
    asked.clear()
    page.wait_for_timeout(6000)
    assert polls() <= 3, "less and less often without a network"
    page.context.set_offline(False)
    page.wait_for_selector(".tl-note:has-text('does not answer')", state="detached", timeout=40000)
    before = page.evaluate("trainLora.current.points.length")
    page.wait_for_function(f"trainLora.current.points.length > {before}")
    show(page, "txt2img")
    page.wait_for_timeout(1500)
    asked.clear()
    page.wait_for_timeout(4000)
    assert polls() <= 1, "hardly ever while the tab is not looked at"


def test_what_the_host_translated_stays_translated(ready, stage):
    page = ready
    page.evaluate("document.querySelector('#train_lora_train').firstChild.data = 'Trainieren'")
    start(page)
    page.wait_for_timeout(2500)
    assert page.inner_text("#train_lora_pause") == "Pause"
    page.evaluate("document.querySelector('#train_lora_pause').firstChild.data = 'Anhalten'")
    page.wait_for_timeout(1500)
    assert page.text_content("#train_lora_pause") == "Anhalten"


def test_what_the_page_needs_comes_when_it_is_needed(page, stage):
    open_tab(page, stage.address)
    assert page.evaluate("[Boolean(trainLora.results), Boolean(trainLora.tools)]") == [False, False]
    page.route("**/train-lora/v1/page*results.js*", lambda route: route.abort())
    page.click("#train_lora_tab_results")
    page.wait_for_selector("#train_lora_panel_results .tl-bad:has-text('did not load')")
    page.unroute("**/train-lora/v1/page*results.js*")
    page.click("#train_lora_tab_results")
    page.wait_for_selector("#train_lora_panel_results :has-text('No run yet')")
    assert page.request.get(stage.address + "train-lora/v1/page?name=../tab/tab.js").status == 404
