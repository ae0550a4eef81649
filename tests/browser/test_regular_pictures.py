"""Regularisation pictures from the page: one click, the run bar, stop, going on, undo."""

from __future__ import annotations

import time

import pytest
from browser_stage import fill_folder, open_tab

pytestmark = pytest.mark.browser
LINE = "#train_lora_regular_line:has-text('{}')"


def test_one_click_draws_them_and_one_more_deletes_them(page, stage, folder):
    draw = stage.host.txt2img
    stage.host.txt2img = lambda request: time.sleep(0.7) or draw(request)
    open_tab(page, stage.address)
    fill_folder(page, folder)
    page.click("summary:has-text('Regularisation pictures')")
    page.wait_for_selector(LINE.format("0 of 3 are there. 3 are missing"))
    page.click("#train_lora_regularise")
    page.wait_for_selector("#train_lora_runbar:has-text('Regularisation pictures')")
    assert not page.is_visible("#train_lora_sample") and not page.is_visible("#train_lora_save")
    page.click("#train_lora_stop")
    page.wait_for_selector("#train_lora_outcome:has-text('Stopped.')")
    page.wait_for_selector(LINE.format("are missing"))
    there = len(list((folder / "reg").rglob("*.png")))
    assert 0 < there < 3
    page.click("#train_lora_regularise")
    page.wait_for_selector("#train_lora_outcome:has-text('3 of 3 are there')")
    page.wait_for_selector(LINE.format("All 3 are there"))
    page.wait_for_selector("#train_lora_counts:has-text('(regularisation)')")
    assert page.is_disabled("#train_lora_regularise")
    page.on("dialog", lambda dialog: dialog.accept())
    page.click("#train_lora_regular_undo")
    page.wait_for_selector(LINE.format("0 of 3 are there"))
    assert not (folder / "reg").exists()


def test_a_refusal_is_shown_beside_the_button(page, stage, folder):
    open_tab(page, stage.address)
    fill_folder(page, folder)
    page.click("summary:has-text('Regularisation pictures')")
    page.wait_for_selector(LINE.format("3 are missing"))
    (folder / "reg").mkdir()
    (folder / "reg" / "mine.png").write_bytes((folder / "2_cat" / "1.png").read_bytes())
    page.click("#train_lora_regularise")
    page.wait_for_selector(".tl-regular .tl-note:has-text('Move them into such a folder')")
