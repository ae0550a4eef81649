"""Sub-tab Tools."""

from __future__ import annotations

import pytest
import torch
from conftest import open_tab

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
