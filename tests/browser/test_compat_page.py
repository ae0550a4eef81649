"""The page from a folder to a card with whatever gradio is installed, by what the web UIs' pages have too."""

from __future__ import annotations

import blob_pictures as pictures
import pytest
from browser_stage import fill_folder, open_tab
from stage import served

from lib_lora_train.app.jobs import JobRunner
from lib_lora_train.hosts.standalone import StandaloneHost
from lib_lora_train.settings.load import from_mapping
from lib_lora_train.ui.standalone import application

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SMALL = {
    "resolution": "64",
    "min_bucket_reso": 64,
    "max_bucket_reso": 128,
    "max_token_length": 75,
    "network_dim": 4,
    "network_alpha": 4,
    "optimizer_type": "AdamW",
    "lr_scheduler": "constant",
    "learning_rate": 5e-3,
    "max_train_steps": 20,
    "sample_every_n_steps": 10,
    "sample_steps": 2,
}


@pytest.fixture
def stage(tmp_path, tiny_checkpoint):
    """(address, LoRA folder)"""
    host = StandaloneHost(tiny_checkpoint, lora_dir=tmp_path / "Lora", data_dir=tmp_path / "data", device="cpu")
    runner = JobRunner(host)
    with served(application(host, from_mapping(SMALL), runner)) as address:
        yield address, tmp_path / "Lora"
        if runner.status():
            runner.tell("stop")
        assert runner.wait(60)


def test_from_a_folder_to_a_card(page, stage, tmp_path):
    address, loras = stage
    open_tab(page, address)
    fill_folder(page, pictures.make(tmp_path / "pictures", count=4))
    page.wait_for_selector("#train_lora_counts:has-text('4 pictures')")
    page.click("#train_lora_tab_recipe")
    page.fill("#train_lora_output_name", "blob")
    page.fill("#train_lora_trigger_word", "blob")
    page.wait_for_selector("#train_lora_prediction:has-text('20 steps')")
    page.click("#train_lora_train")
    page.wait_for_selector("#train_lora_outcome .tl-ok", timeout=180000)
    page.click("#train_lora_tab_bake")
    page.wait_for_function("document.querySelectorAll('#train_lora_samples img').length >= 2")
    assert {path.name for path in loras.iterdir()} == {"blob.safetensors", "blob.json", "blob.png"}
