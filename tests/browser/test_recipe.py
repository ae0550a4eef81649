"""Sub-tab Recipe: presets, fields, what is kept, another LoRA's recipe."""

from __future__ import annotations

import pytest
from browser_stage import finished, reload, start

pytestmark = pytest.mark.browser


def test_presets_changes_and_reset(ready):
    page = ready
    page.click("[data-preset=style]")
    assert page.get_attribute("[data-preset=style]", "aria-checked") == "true"
    assert page.evaluate("trainLora.recipe.values.output_name") == "cat"
    page.click("#train_lora_all > summary")
    page.fill("#train_lora_search", "batch size")
    page.fill("#train_lora_field_train_batch_size", "3")
    page.wait_for_selector("#train_lora_all > summary:has-text('changed from Style')")
    box = page.locator(".tl-field.tl-changed", has=page.locator("#train_lora_field_train_batch_size"))
    box.locator(".tl-reset").click()
    assert page.evaluate("trainLora.recipe.values.train_batch_size") == 1
    assert box.count() == 0


def test_values_outside_the_advice_warn_and_impossible_ones_are_refused(ready):
    page = ready
    page.click("#train_lora_all > summary")
    page.fill("#train_lora_search", "rank")
    page.fill("#train_lora_field_network_dim", "1000")
    page.wait_for_selector("#train_lora_group_network .tl-warn-text:has-text('768')")
    page.fill("#train_lora_field_network_dim", "lots")
    assert page.get_attribute("#train_lora_field_network_dim", "aria-invalid") == "true"
    page.click("#train_lora_train")
    page.wait_for_selector(".tl-note.tl-bad:has-text('not a number')")
    assert page.evaluate("document.activeElement.id") == "train_lora_field_network_dim"
    assert page.evaluate("trainLora.status.job") is None


def test_recipe_and_tab_are_kept_between_visits(ready, stage):
    page = ready
    page.evaluate("trainLora.recipe.set('network_dim', 12)")
    reload(page)
    page.wait_for_function("window.trainLora && trainLora.recipe && trainLora.recipe.ready")
    assert page.evaluate("trainLora.recipe.values.network_dim") == 12
    assert page.input_value("#train_lora_output_name") == "cat"
    assert page.get_attribute("#train_lora_tab_recipe", "aria-selected") == "true"


def test_train_again_from_a_card(standalone, ready, stage):
    page = ready
    page.evaluate("trainLora.recipe.set('network_dim', 12)")
    start(page)
    finished(page)
    page.click(".tl-try")
    prompt = "(document.querySelector('#txt2img_prompt textarea') || {}).value"
    page.wait_for_function(f"{prompt} === '<lora:cat:1> cat'")
    page.click("#txt2img_lora_extra_refresh")
    page.evaluate("trainLora.recipe.replace({})")
    page.click(".card[data-name=cat] .train-lora-again")
    page.wait_for_selector("#train_lora_again :has-text('again')")
    assert page.get_attribute("#train_lora_tab_recipe", "aria-selected") == "true"
    assert page.evaluate("trainLora.recipe.values.output_name") == "cat"
    assert page.input_value("#txt2img_prompt textarea") == "<lora:cat:1> cat", "the card's own click did not happen"
