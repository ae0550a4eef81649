"""Measuring from the page, with real steps on a tiny checkpoint: it fits, or what fits is one click away."""

from __future__ import annotations

import time
from contextlib import contextmanager

import blob_pictures as pictures
import pytest
import torch
from browser_stage import fill_folder, open_tab
from stage import served
from test_flow import SMALL

from lib_lora_train.app.jobs import JobRunner
from lib_lora_train.hosts.standalone import StandaloneHost
from lib_lora_train.settings.load import from_mapping
from lib_lora_train.ui.standalone import application

pytestmark = [pytest.mark.browser, pytest.mark.slow]


class SmallHost(StandaloneHost):
    """A device on which two pictures at once do not fit."""

    pause_s = 0.0

    @contextmanager
    def lend(self):
        def look(module, args, kwargs):
            time.sleep(self.pause_s)
            if (args[0] if args else kwargs["sample"]).shape[0] > 1:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")

        with super().lend() as loan:
            hook = loan.unet.register_forward_pre_hook(look, with_kwargs=True)
            yield loan
            hook.remove()


def test_measured_figures_take_the_place_of_the_guess(page, tmp_path, tiny_checkpoint):
    host = SmallHost(tiny_checkpoint, lora_dir=tmp_path / "Lora", data_dir=tmp_path / "data", device="cpu")
    runner = JobRunner(host)
    with served(application(host, from_mapping({**SMALL, "train_batch_size": 2}), runner)) as address:
        open_tab(page, address)
        assert page.is_disabled("#train_lora_measure"), "there is nothing to measure on yet"
        fill_folder(page, pictures.make(tmp_path / "pictures", count=6))
        page.click("#train_lora_tab_recipe")
        page.wait_for_selector("#train_lora_prediction:has-text('memory, about')")
        page.click("#train_lora_measure")
        page.wait_for_selector("#train_lora_runbar:has-text('Measuring')")
        assert not page.is_visible("#train_lora_pause") and page.is_visible("#train_lora_stop")
        page.wait_for_selector("#train_lora_measured .tl-warn:has-text('It fits with Batch size: 1')", timeout=90000)
        page.click("#train_lora_use_lower")
        assert page.evaluate("trainLora.recipe.values.train_batch_size") == 1
        assert page.evaluate("trainLora.recipe.values.gradient_accumulation_steps") == 2
        page.wait_for_selector("#train_lora_prediction small:text-is('measured')")
        page.click("#train_lora_measure")
        page.wait_for_selector("#train_lora_measured .tl-ok:has-text('It fits')", timeout=90000)
        page.evaluate("trainLora.recipe.set('network_dim', 9)")
        assert not page.inner_text("#train_lora_measured"), "what was measured was another recipe"
        host.pause_s = 2.0
        page.click("#train_lora_measure")
        page.wait_for_selector("#train_lora_runbar:visible")
        page.click("#train_lora_stop")
        page.wait_for_selector("#train_lora_runbar", state="hidden", timeout=60000)
        assert runner.wait(60) and not list((host.data_dir() / "runs").glob("*"))
