"""Sub-tab Results, and trying a LoRA in txt2img."""

from __future__ import annotations

import re

import pytest
import torch
from conftest import finished, open_tab

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
    settings = from_mapping({"train_data_dir": str(folder), "output_name": "old", "optimizer_type": "AdamW"})
    (run / "recipe.toml").write_text(recipe.dumps(settings), encoding="utf-8")
    (run / "events.jsonl").write_text('{"event":"Phase","t":1.0,"name":"train","text":"","done":0,"total":0}\n')
    open_tab(page, stage.address)
    page.click("#train_lora_tab_results")
    page.wait_for_selector(".tl-state-interrupted")
    page.click(".tl-run button:has-text('Continue')")
    assert re.search(r"old.*is finished", finished(page))
