"""Sub-tab Recipe: cards fitted to what is loaded, difficulty, own recipes, recipes in and out as files."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from browser_stage import fill_folder, open_tab, reload

from lib_lora_train.export import lora_file
from lib_lora_train.settings import recipe

pytestmark = pytest.mark.browser
VALUE = "(name) => trainLora.recipe.values[name]"


def value(page, name):
    return page.evaluate(VALUE, name)


def drop(page, name: str, content: str) -> None:
    """A file dropped on the Recipe sub-tab."""
    page.evaluate(
        """([name, content]) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([content], name));
          const place = document.querySelector('#train_lora_panel_recipe > section');
          for (const kind of ['dragenter', 'dragover', 'drop'])
            place.dispatchEvent(new DragEvent(kind, {dataTransfer: transfer, bubbles: true, cancelable: true}));
        }""",
        [name, content],
    )


def test_difficulty_sets_rank_and_steps_until_the_recipe_has_its_way_again(ready, stage):
    page = ready
    page.click("[data-preset=character]")
    plain = value(page, "network_dim"), value(page, "max_train_steps")
    page.focus("#train_lora_difficulty")
    page.keyboard.press("End")
    page.wait_for_selector(".tl-difficulty b:has-text('I: eldritch')")
    assert (value(page, "network_dim"), value(page, "network_alpha"), value(page, "max_train_steps")) == (
        224,
        112,
        3000,
    )
    page.click("label:has-text('knows it already')")
    assert value(page, "network_dim") == 160
    page.click("label:has-text('male character')")
    assert value(page, "network_dim") == 192
    assert set(page.evaluate("trainLora.recipe.changed()")) < set(stage.recipe), "it belongs to the recipe"
    page.evaluate("trainLora.recipe.set('max_train_steps', 1234)")
    page.click("[data-preset=easy]")
    assert value(page, "network_dim") == 192 and value(page, "network_alpha") == 1
    page.click(".tl-difficulty .tl-link")
    page.click("[data-preset=character]")
    assert (value(page, "network_dim"), value(page, "max_train_steps")) == plain


def test_cards_follow_the_checkpoint_but_not_over_what_was_set(ready, stage):
    page, status = ready, stage.host.status
    page.click("[data-preset=character]")
    page.evaluate("trainLora.recipe.set('network_dim', 20)")
    stage.host.status = lambda: replace(status(), checkpoint="big", family="SDXL", memory_total_gb=12.0)
    page.wait_for_function("trainLora.recipe.values.resolution === '1024'", timeout=15000)
    assert value(page, "gradient_checkpointing") is True and value(page, "network_dim") == 20
    page.wait_for_selector("[data-preset=character]:has-text('For this card: gradient checkpointing')")
    reload(page)
    page.wait_for_function("window.trainLora && trainLora.recipe && trainLora.recipe.ready")
    assert value(page, "network_dim") == 20 and page.evaluate("trainLora.recipe.changed()") == ["network_dim"]


def test_a_recipe_is_saved_renamed_deleted_and_taken_back(ready):
    page = ready
    page.evaluate("trainLora.recipe.set('network_dim', 20)")
    page.click("#train_lora_save_recipe")
    page.fill("dialog input", "dolls <b>")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog .tl-bad")
    page.fill("dialog input", "dolls")
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-preset='own/dolls'][aria-checked=true]")
    page.click("[data-preset=easy]")
    assert value(page, "network_dim") == 32
    page.click("[data-preset='own/dolls']")
    assert value(page, "network_dim") == 20 and value(page, "output_name") == "cat"
    page.click("#train_lora_recipe_actions button:has-text('Rename')")
    page.fill("dialog input", "my dolls")
    page.click("dialog button:has-text('Save')")
    page.wait_for_selector("[data-preset='own/my dolls'][aria-checked=true]")
    reload(page)
    page.wait_for_selector("[data-preset='own/my dolls'][aria-checked=true]")
    page.click("#train_lora_recipe_actions button:has-text('Delete')")
    page.wait_for_selector("[data-preset='own/my dolls']", state="detached")
    page.click("#train_lora_recipes_said button:has-text('Undo')")
    page.wait_for_selector("[data-preset='own/my dolls'][aria-checked=true]")


def test_saving_over_a_recipe_is_asked_about(ready):
    page = ready
    for rank in (20, 24):
        page.evaluate("(rank) => trainLora.recipe.set('network_dim', rank)", rank)
        page.click("#train_lora_save_recipe")
        page.fill("dialog input", "dolls")
        page.click("dialog button:has-text('Save')")
        if rank == 24:
            page.click("dialog button:has-text('Replace it')")
        page.wait_for_selector("[data-preset='own/dolls'][aria-checked=true]")  # saved, so it is the one chosen
        page.click("[data-preset=easy]")
    page.click("[data-preset='own/dolls']")
    assert value(page, "network_dim") == 24


def test_another_trainers_settings_are_taken_over_with_what_was_lost(ready):
    page = ready
    before = page.evaluate("JSON.stringify(trainLora.recipe.values)")
    kohya = {"LoRA_type": "Standard", "network_dim": 20, "network_alpha": 10, "pretrained_model_name_or_path": "x",
             "unet_lr": 0.0001, "max_train_steps": "700", "logging_dir": "/logs"}  # fmt: skip
    drop(page, "kohya.json", json.dumps(kohya))
    page.wait_for_selector("#train_lora_recipes_said .tl-ok:has-text('kohya.json is the recipe now')")
    assert value(page, "network_dim") == 20 and value(page, "output_name") == "cat"
    assert value(page, "train_data_dir") == json.loads(before)["train_data_dir"]
    assert page.locator("#train_lora_recipes_said details").count() >= 1
    page.click("#train_lora_recipes_said button:has-text('Undo')")
    assert json.loads(page.evaluate("JSON.stringify(trainLora.recipe.values)")) == json.loads(before)


def test_a_lora_or_a_pasted_command_line_brings_its_recipe(ready, tmp_path):
    page = ready
    path = tmp_path / "old.safetensors"
    lora_file.save(path, {"lora_te_x.alpha": torch.ones(1)}, {"ss_network_dim": "24", "ss_network_alpha": "12"})
    page.click("#train_lora_import")
    page.set_input_files("dialog input[type=file]", str(path))
    page.click("dialog button:has-text('Import')")
    page.wait_for_selector("#train_lora_recipes_said .tl-ok:has-text('old.safetensors')")
    assert value(page, "network_dim") == 24
    page.click("#train_lora_import")
    page.fill("dialog textarea", "accelerate launch train_network.py --network_dim 6 --network_alpha 3")
    page.click("dialog button:has-text('Import')")
    page.wait_for_function("trainLora.recipe.values.network_dim === 6")
    drop(page, "cut.safetensors", "x" * 40)
    page.wait_for_selector("#train_lora_recipes_said .tl-bad:has-text('cut.safetensors is no LoRA file')")
    assert value(page, "network_dim") == 6


def test_the_recipe_goes_out_as_toml_without_folders_and_comes_back(ready, tmp_path):
    page = ready
    page.evaluate("trainLora.recipe.set('network_dim', 20)")
    with page.expect_download() as started:
        page.click("#train_lora_export")
    path = tmp_path / started.value.suggested_filename
    started.value.save_as(path)
    settings = recipe.read(path)
    assert path.name == "cat.toml" and settings.network.network_dim == 20 and settings.data.train_data_dir == ""
    page.evaluate("trainLora.recipe.set('network_dim', 8)")
    drop(page, "cat.toml", path.read_text(encoding="utf-8"))
    page.wait_for_function("trainLora.recipe.values.network_dim === 20")


def test_options_that_do_nothing_say_why(page, stage, folder):
    open_tab(page, stage.address)
    fill_folder(page, folder)
    page.click("#train_lora_tab_recipe")
    page.click("#train_lora_all > summary")
    page.fill("#train_lora_search", "huber threshold")
    field = page.locator(".tl-field", has=page.locator("#train_lora_field_huber_c"))
    assert "Does nothing now: only with “Loss” huber or smooth_l1." in field.inner_text()
    page.evaluate("trainLora.recipe.set('loss_type', 'huber')")
    assert "Does nothing" not in field.inner_text() and field.locator(".tl-help:visible").count() == 1
