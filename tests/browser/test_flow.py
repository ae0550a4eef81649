"""The five-minute story on the stand-alone page: a real training on a tiny checkpoint, worked with mouse and keys."""

from __future__ import annotations

import hashlib

import blob_pictures as pictures
import pytest
from browser_stage import fill_folder, open_tab, reload
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
    "max_train_steps": 60,
    "sample_every_n_steps": 20,
    "sample_steps": 2,
}


@pytest.fixture
def address(tmp_path, tiny_checkpoint):
    host = StandaloneHost(tiny_checkpoint, lora_dir=tmp_path / "Lora", data_dir=tmp_path / "data", device="cpu")
    runner = JobRunner(host)
    with served(application(host, from_mapping(SMALL), runner)) as where:
        yield where
        if runner.status():
            runner.tell("stop")
        assert runner.wait(60)


def picture(page, seen: str = "") -> str:
    """Digest of the generated picture, a newer one than `seen`."""
    page.click("#txt2img_generate")
    page.wait_for_function(
        """(old) => {
          const image = document.querySelector('#txt2img_gallery img');
          return image && image.complete && image.src !== old;
        }""",
        arg=page.evaluate("window.seen || ''"),
        timeout=60000,
    )
    source = page.evaluate("window.seen = document.querySelector('#txt2img_gallery img').src")
    held = source.startswith("data:")  # gradio 3 has the picture in the page itself
    return hashlib.sha256(source.encode() if held else page.request.get(source).body()).hexdigest()


def test_from_a_folder_to_a_picture_and_again(page, address, tmp_path):
    folder = pictures.make(tmp_path / "pictures", count=6)
    open_tab(page, address)
    fill_folder(page, folder)
    page.wait_for_selector("#train_lora_counts:has-text('6 pictures')")
    page.click("button:has-text('Next: choose a recipe')")
    page.fill("#train_lora_output_name", "blob")
    page.fill("#train_lora_trigger_word", "blob")
    page.wait_for_selector("#train_lora_prediction:has-text('60 steps')")
    page.click("#train_lora_train")

    page.wait_for_function("trainLora.status.job && trainLora.status.job.progress", timeout=90000)
    reload(page)
    page.wait_for_selector("#train_lora_runbar:visible, #train_lora_outcome .tl-note", timeout=30000)
    page.wait_for_selector("#train_lora_outcome .tl-ok", timeout=180000)
    page.click("#train_lora_tab_bake")
    page.wait_for_function("document.querySelectorAll('#train_lora_samples img').length >= 3")

    page.click("#train_lora_outcome .tl-try")
    prompt = page.wait_for_selector("#txt2img_prompt textarea")
    page.wait_for_function("document.querySelector('#txt2img_prompt textarea').value === '<lora:blob:1> blob'")
    page.fill("#txt2img_seed input", "5")
    page.fill("#txt2img_steps input", "2")
    with_lora = picture(page)
    prompt.fill("blob")
    assert picture(page) != with_lora

    page.click("#txt2img_lora_extra_refresh")
    page.wait_for_function("(document.querySelector('.card[data-name=blob] img') || {}).naturalWidth > 0")
    page.click("#txt2img_lora_cards .card[data-name=blob]")
    page.wait_for_function("document.querySelector('#txt2img_prompt textarea').value.includes('<lora:blob:1>')")
    page.click(".card[data-name=blob] .train-lora-again")
    page.wait_for_selector("#train_lora_again :has-text('recipe is complete')")
    assert page.evaluate("trainLora.recipe.values.train_data_dir") == str(folder)
    assert page.evaluate("trainLora.recipe.values.network_dim") == 4
    page.click("#train_lora_train")
    page.click("dialog button:has-text('Train as')")
    page.wait_for_function("trainLora.status.job && trainLora.status.job.name === 'blob_v2'", timeout=30000)
