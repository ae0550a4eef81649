"""Sub-tab Pictures: what is trained, what is left out, dropped files."""

from __future__ import annotations

import pytest
from browser_stage import fill_folder, open_tab

pytestmark = pytest.mark.browser


def test_pictures_show_what_is_trained_and_what_is_left_out(page, stage, folder):
    open_tab(page, stage.address)
    fill_folder(page, folder)
    page.wait_for_selector("#train_lora_counts:has-text('3 pictures')")
    assert "6 per epoch" in page.inner_text("#train_lora_counts")
    text = page.inner_text("#train_lora_panel_pictures")
    assert "dance.gif" in text and "broken.png" in text
    assert "no caption" in text or "cat" in text
    assert page.locator(".tl-buckets tr").count() >= 1
    page.click(".tl-tile >> nth=1")
    assert "cat, sitting, indoors" in page.inner_text("dialog")
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("document.querySelector('dialog img').naturalWidth > 0")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")


def test_captions_are_text_never_markup(page, stage, folder):
    open_tab(page, stage.address)
    fill_folder(page, folder)
    page.wait_for_selector(".tl-tile >> nth=2")
    assert page.locator(".tl-cap", has_text="onerror").count() == 1
    assert page.evaluate("window.hacked") is None
    assert page.locator("#train-lora-root img[src='x']").count() == 0


def test_a_folder_that_is_not_there_says_so(page, stage, tmp_path):
    open_tab(page, stage.address)
    fill_folder(page, tmp_path / "nowhere")
    note = page.wait_for_selector("#train_lora_panel_pictures .tl-note.tl-bad")
    assert "nowhere" in note.inner_text()


def test_dropped_pictures_become_a_data_set(page, stage, folder):
    open_tab(page, stage.address)
    page.set_input_files(
        "#train_lora_drop input[type=file] >> nth=0",
        [str(folder / "2_cat" / name) for name in ("0.png", "0.txt", "1.png", "1.txt")],
    )
    page.wait_for_selector("#train_lora_counts:has-text('2 pictures')")
    assert page.locator(".tl-cap", has_text="cat, sitting, indoors").count() == 1
    assert str(stage.host.data_dir()) in page.input_value("#train_lora_folder")
