"""Sub-tab Tools."""

from __future__ import annotations

import pytest
import torch
from browser_stage import open_tab

from lib_lora_train.export import lora_file

pytestmark = pytest.mark.browser


def test_recipe_of_a_foreign_file_shows_markup_as_text(page, stage):
    bad = "<img src=y onerror='window.hacked=1'>"
    path = stage.host.lora_dir() / "other.safetensors"
    lora_file.save(path, {"lora_te_x.alpha": torch.ones(1)}, {"ss_network_dim": "8", "ss_training_comment": bad})
    open_tab(page, stage.address)
    page.click("#train_lora_tab_tools")
    page.fill("#train_lora_inspect", "other")
    page.keyboard.press("Enter")
    page.wait_for_selector("#train_lora_panel_tools table")
    assert page.evaluate("window.hacked") is None
    assert page.locator("#train-lora-root img[src='y']").count() == 0


def test_any_lora_file_is_looked_into(page, stage, tmp_path):
    bad = "<img src=y onerror='window.hacked=1'>"
    modules = ["lora_unet_down_blocks_0_attentions_1_proj_in", "lora_unet_up_blocks_3_attentions_2_proj_in"]
    tensors = {"lora_te_text_model_encoder_layers_0_mlp_fc1.alpha": torch.ones(1)}
    for index, module in enumerate(modules, 1):
        tensors |= {f"{module}.lora_up.weight": torch.full((4, 2), 0.1 * index), f"{module}.alpha": torch.ones(1),
                    f"{module}.lora_down.weight": torch.ones(2, 4)}  # fmt: skip
    path = tmp_path / "foreign.safetensors"
    lora_file.save(path, tensors, {"ss_network_dim": "2", bad: bad})
    open_tab(page, stage.address)
    page.click("#train_lora_tab_tools")
    page.set_input_files("#train_lora_inspect_drop input[type=file]", str(path))
    page.wait_for_selector("#train_lora_inspected svg")
    heights = page.eval_on_selector_all(".tl-norm", "bars => bars.map((bar) => Number(bar.getAttribute('height')))")
    assert len(heights) == 2 and abs(heights[1] - 2 * heights[0]) < 1e-6
    page.click("#train_lora_inspected summary:has-text('Metadata')")
    assert page.locator("#train_lora_inspected td", has_text="onerror").count() == 1
    assert page.evaluate("window.hacked") is None
    page.click("button:has-text('Take over its recipe')")
    page.wait_for_selector("#train_lora_recipes_said .tl-ok:has-text('foreign.safetensors')")
    assert page.evaluate("trainLora.recipe.values.network_dim") == 2
    path.write_bytes(b"cut off")
    page.click("#train_lora_tab_tools")
    page.set_input_files("#train_lora_inspect_drop input[type=file]", str(path))
    page.wait_for_selector("#train_lora_inspected .tl-bad:has-text('foreign.safetensors')")
    assert not list(stage.host.data_dir().glob("upload-*"))
