"""Sub-tab Results, and trying a LoRA in txt2img."""

from __future__ import annotations

import json
import re

import pytest
import torch
from browser_stage import finished, open_tab, show

from lib_lora_train.engine import state
from lib_lora_train.export.folder import RunFolder
from lib_lora_train.settings import recipe
from lib_lora_train.settings.load import from_mapping

pytestmark = pytest.mark.browser


def test_try_in_txt2img_keeps_what_stood_in_the_prompt(page, stage):
    open_tab(page, stage.address)
    put = "([prompt, name, weight, words]) => trainLora.host.withLora(prompt, name, weight, words)"
    assert page.evaluate(put, ["", "cat", 1, "cat"]) == "<lora:cat:1> cat"
    assert page.evaluate(put, ["a garden", "cat", 0.8, "cat"]) == "<lora:cat:0.8> a garden, cat"
    assert page.evaluate(put, ["<lora:cat:1> cat", "cat", 0.5, "cat"]) == "<lora:cat:0.5> cat"
    assert page.evaluate(put, ["<lora:cat2:1> x", "cat", 1, ""]) == "<lora:cat:1> <lora:cat2:1> x"
    assert page.evaluate(put, ["x", "a+b (1)", 1, ""]) == "<lora:a+b (1):1> x"


def test_interrupted_runs_can_go_on(page, stage, folder):
    data = stage.host.data_dir()
    run = RunFolder(data / "runs" / "20260101-000000-old", data / "cache").make().root
    state.save(run / "state", 10, state.State({"x": torch.zeros(1)}, {"step": 10}))
    settings = from_mapping({"train_data_dir": str(folder), "output_name": "old", **stage.recipe})
    (run / "recipe.toml").write_text(recipe.dumps(settings), encoding="utf-8")
    (run / "events.jsonl").write_text('{"event":"Phase","t":1.0,"name":"train","text":"","done":0,"total":0}\n')
    open_tab(page, stage.address)
    page.click("#train_lora_tab_results")
    page.wait_for_selector(".tl-state-interrupted")
    page.click(".tl-run button:has-text('Continue')")
    assert re.search(r"old.*is finished", finished(page))


@pytest.fixture
def trained(ready, stage):
    """A run with three snapshots, and the list of runs open."""
    page = ready
    stage.engine.snapshot_every, stage.engine.pause_s = 15, 0.01
    page.click("#train_lora_train")
    finished(page)
    page.click("#train_lora_tab_results")
    page.wait_for_selector(".tl-snapshot >> nth=2")
    return page


def test_keep_this_one_makes_another_snapshot_the_lora(trained, stage):
    page, card = trained, stage.host.lora_dir() / "cat.safetensors"
    assert "kept" in page.inner_text(".tl-snapshot >> nth=2"), "the last one is what a run ends with"
    before = card.read_bytes()
    page.click(".tl-snapshot >> nth=0 >> button:has-text('Keep this one')")
    page.wait_for_selector(".tl-run .tl-ok:has-text('now the snapshot of step 15')")
    page.wait_for_selector(".tl-snapshot.tl-kept:has-text('step 15')")
    assert card.with_suffix(".png").is_file() and card.read_bytes() == before, "the stage's snapshots are alike"


def test_a_grid_is_drawn_enlarged_compared_and_kept_with_its_strength(trained, stage, folder):
    page = trained
    page.click(".tl-more summary")
    page.fill("[data-uses=strengths] input", "0.5 1")
    page.wait_for_selector(".tl-order:has-text('6 pictures')")
    page.click(".tl-order button:has-text('Draw')")
    page.wait_for_selector(".tl-sheet tbody tr >> nth=2")
    page.wait_for_function("[...document.querySelectorAll('.tl-sheet img')].filter((i) => i.naturalWidth).length === 6")
    assert page.is_visible(".tl-order"), "what was typed stays while the list is read again"
    assert page.get_attribute(".tl-sheet-box a[download]", "download") == "cat snapshots and strengths.png"
    page.click(".tl-sheet tbody tr:nth-child(2) .tl-shot >> nth=0")
    page.select_option(".tl-viewer .tl-compare", "3")
    assert page.is_visible(".tl-viewer .tl-laid")
    page.fill(".tl-viewer input[type=range]", "20")
    assert page.evaluate("document.querySelector('.tl-laid').style.clipPath") == "inset(0px 0px 0px 20%)"
    page.click(".tl-viewer button:has-text('Keep this one')")
    page.wait_for_selector(".tl-viewer .tl-ok:has-text('at strength 0.5')")
    notes = json.loads((stage.host.lora_dir() / "cat.json").read_text())
    assert notes["preferred weight"] == 0.5
    page.click(".tl-viewer button:has-text('Put into the training set')")
    page.wait_for_selector(".tl-viewer .tl-ok:has-text('lies in the training set now')")
    assert len(list((folder / "2_cat").glob("picked-*"))) == 2, "the picture and its caption"
    page.evaluate("document.addEventListener('keydown', (event) => { window.heard = event.key; })")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    assert page.evaluate("window.heard") is None, "web UIs interrupt by this key"


def test_strengths_of_the_two_parts_propose_the_next_rates(trained, stage):
    page = trained
    page.click(".tl-more summary")
    page.select_option(".tl-order select >> nth=0", "parts")
    page.fill("[data-uses=strengths] input", "0.5")
    page.fill("[data-uses=te] input", "2")
    page.click(".tl-order button:has-text('Draw')")
    page.click(".tl-sheet .tl-shot")
    page.click(".tl-viewer button:has-text('Train again with')")
    used = stage.engine.runs[0].optimizer
    unet, te = page.evaluate("[trainLora.recipe.values.unet_lr, trainLora.recipe.values.text_encoder_lr]")
    assert unet == pytest.approx((used.unet_lr or used.learning_rate) * 0.5, rel=1e-2)
    assert te == pytest.approx((used.text_encoder_lr or used.learning_rate) * 2, rel=1e-2)
    assert page.is_visible("#train_lora_panel_recipe")


def test_a_leak_check_says_in_words_what_changes(trained):
    page = trained
    page.click(".tl-more summary")
    page.select_option(".tl-order select >> nth=0", "leak")
    assert "cat" not in page.input_value("[data-uses=prompts] textarea"), "the run's trigger is not proposed"
    page.click(".tl-order button:has-text('Draw')")
    page.wait_for_selector(".tl-sheet small:has-text('leaves it as it is (0.0 %)') >> nth=1")


def test_a_run_is_deleted_and_comes_back(trained, stage):
    page = trained
    page.click(".tl-run button:has-text('Delete')")
    page.click("dialog button:has-text('The run and “cat”')")
    page.wait_for_selector("#train_lora_panel_results :has-text('No run yet')")
    assert not list(stage.host.lora_dir().iterdir())
    page.click("#train_lora_panel_results .tl-ok button:has-text('Undo')")
    page.wait_for_selector(".tl-run .tl-snapshot")
    assert (stage.host.lora_dir() / "cat.safetensors").is_file()
    assert not page.is_visible("#train_lora_trash")


def test_what_changed_since_the_run_before_stands_on_the_card(trained):
    page = trained
    page.click("#train_lora_tab_recipe")
    page.evaluate("trainLora.recipe.merge({network_dim: 24, output_name: 'cat_v2'})")
    page.click("#train_lora_train")
    page.wait_for_function("trainLora.current && trainLora.current.name === 'cat_v2' && trainLora.current.outcome")
    page.click("#train_lora_tab_results")
    page.wait_for_selector(".tl-run >> nth=1")
    assert re.search(r"Changed since cat: Rank.* \d+ → 24\.", page.inner_text(".tl-run .tl-changes"))


def test_what_the_base_knows_is_drawn_before_training(ready, stage):
    page = ready
    page.click("#train_lora_ask_base")
    assert page.input_value("#train_lora_base_prompts").startswith("cat\n")
    page.fill("#train_lora_base_prompts", "cat\nred dress")
    page.click("dialog button:has-text('Draw')")
    page.wait_for_selector("#train_lora_base[open] .tl-sheet tbody tr >> nth=1")
    page.wait_for_function("document.querySelectorAll('#train_lora_base .tl-sheet img').length === 6")
    assert not stage.engine.runs


def test_the_loop_from_one_picture_leads_to_the_next_training(trained, stage, folder):
    page = trained
    page.click(".tl-more summary")
    page.fill("[data-uses=strengths] input", "1")
    page.click(".tl-order button:has-text('Draw')")
    page.click(".tl-sheet .tl-shot >> nth=0")
    page.click(".tl-viewer button:has-text('Put into the training set')")
    page.wait_for_function("!trainLora.status.job")  # all of the sheet is drawn
    page.click(".tl-viewer button:has-text('Train again with')")
    page.wait_for_function("trainLora.current && trainLora.current.name === 'cat_v2' && trainLora.current.outcome")
    assert [run.naming.output_name for run in stage.engine.runs] == ["cat", "cat_v2"]
    assert stage.engine.runs[1].data.train_data_dir == str(folder)


def test_a_picture_of_txt2img_is_sent_to_the_training_set(standalone, ready, stage, folder):
    page = ready
    show(page, "txt2img")
    page.fill("#txt2img_prompt textarea", "cat <lora:x:1>, on a roof")
    page.click(".train-lora-send")
    page.wait_for_selector(".train-lora-said:has-text('No picture yet')")
    page.click("#txt2img_generate")
    page.wait_for_selector("#txt2img_gallery img")
    page.click(".train-lora-send")
    page.wait_for_selector(".train-lora-said:has-text('Sent to the training set')")
    caption = next((folder / "2_cat").glob("picked-*.txt"))
    assert caption.read_text(encoding="utf-8") == "cat, on a roof"


def test_rows_of_the_tree_view_have_the_button_too(standalone, page, stage):
    """The markup of A1111's tree view: its rows tell the name as a label only."""
    open_tab(page, stage.address)
    page.evaluate(
        """() => document.body.insertAdjacentHTML('beforeend', `<div id="img2img_lora_tree">
          <div class="tree-list-content tree-list-content-file" data-path="/x/cat.safetensors">
            <span class="tree-list-item-label tree-list-item-label--truncate"> cat </span>
            <span class="tree-list-item-action"><div class="button-row"></div></span></div></div>`)"""
    )
    page.wait_for_selector("#img2img_lora_tree .train-lora-again", state="attached")
    assert page.get_attribute("#img2img_lora_tree .train-lora-again", "aria-label") == "Train cat again"
    assert page.locator("#img2img_lora_tree .train-lora-again").count() == 1
