"""Markup in captions, tags, file names, triggers, prompts and LoRA metadata is text in the real web UI's page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import materials
import pytest
from harness import Spec, WebUI
from PIL import Image
from webui_page import WebPage, until

pytestmark = [pytest.mark.host, pytest.mark.slow, pytest.mark.timeout(900)]
BAD = '<img src=x onerror="window.hacked=1">'
TAG = "<b onmouseover=window.hacked=2>bold</b>"
SETTINGS = {
    "output_name": "marked",
    "trigger_word": BAD,
    "resolution": "64",
    "min_bucket_reso": 64,
    "network_dim": 2,
    "max_train_steps": 2,
    "sample_every_n_steps": 1,
    "sample_steps": 1,
    "sample_prompts": f"{BAD}\n{TAG}",  # a run's card shows the row of samples when there are several
    "make_thumbnail": False,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Names and captions of somebody who means harm; one file is no picture."""
    root = tmp_path_factory.mktemp("pictures")
    for name in ("<img src=x onerror=window.hacked=3>", "plain"):
        Image.new("RGB", (64, 64), "red").save(root / f"{name}.png")
        (root / f"{name}.txt").write_text(f"{TAG}, {BAD}")
    (root / "<svg onload=window.hacked=4>.png").write_bytes(b"no picture")
    return root


@pytest.fixture
def visitor(visitor: WebPage) -> Iterator[WebPage]:
    yield visitor
    unharmed(visitor)


def unharmed(visit: WebPage) -> None:
    """No script ran, and nothing given became an element of our part of the page."""
    assert visit.eval("window.hacked") is None
    made = "#train-lora-root img[src='x'], #train-lora-root b[onmouseover], #train-lora-root svg[onload]"
    assert visit.page.locator(made).count() == 0
    assert visit.page.locator("dialog img[src='x'], dialog b[onmouseover]").count() == 0


def test_captions_and_file_names(visitor: WebPage, folder: Path):
    visitor.page.click("#train_lora_tab_pictures")
    visitor.page.fill("#train_lora_folder", str(folder))
    visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_selector(f".tl-cap:has-text({json.dumps(BAD)})")  # a run before left its own pictures there
    assert "<svg onload" in visitor.page.inner_text("#train_lora_panel_pictures")  # left out, by name
    visitor.page.locator(".tl-tile").first.click()
    assert TAG in visitor.page.inner_text("dialog")


def test_trigger_and_prompts_of_a_run(visitor: WebPage, webui: WebUI, folder: Path):
    started = webui.post("/train-lora/v1/start", {"settings": {**SETTINGS, "train_data_dir": str(folder)}})["run"]
    until(lambda: not webui.get("/train-lora/v1/status")["job"], 300)
    visitor.page.reload()
    visitor.ready()
    page = visitor.tab("Train LoRA").page
    page.click("#train_lora_tab_results")
    run = page.locator(f".tl-run[data-run='{started}']")
    run.locator(".tl-shot img").first.wait_for()
    assert [shot.get_attribute("alt") for shot in run.locator(".tl-shot img").all()] == [BAD, TAG]
    run.locator(".tl-shot").first.click()
    assert BAD in page.inner_text("dialog .tl-caption")
    unharmed(visitor)
    page.keyboard.press("Escape")
    run.locator("button:has-text('Look at it')").click()
    page.wait_for_selector("#train_lora_panel_bake .tl-samples")
    assert page.locator("#train_lora_panel_bake .tl-samples th[scope=col]").all_inner_texts() == [BAD, TAG]
    unharmed(visitor)
    page.click("#train_lora_tab_results")
    run.locator("button:has-text('Train again')").click()
    page.wait_for_function("(bad) => document.querySelector('#train_lora_trigger_word').value === bad", arg=BAD)
    page.click("#train_lora_tab_results")
    run.locator("button:has-text('Try in txt2img')").click()
    page.wait_for_function("(bad) => document.querySelector('#txt2img_prompt textarea').value.includes(bad)", arg=BAD)
    visitor.cards().card("marked")


def test_metadata_of_a_lora_and_its_card(visitor: WebPage, webui: WebUI, spec: Spec):
    told = {"ss_output_name": TAG, "ss_sd_model_name": BAD, "ss_training_comment": BAD, "ss_network_module": BAD}
    told["ss_tag_frequency"] = json.dumps({BAD: {TAG: 3}})
    materials.lora(spec.checkpoint, webui.lora_dir / "hostile.safetensors", **told)
    webui.post("/probe/publish", {"name": "hostile"})
    visitor.page.reload()
    visitor.ready()
    visitor.cards().page.click("#txt2img_lora_extra_refresh")  # a file of somebody else's; ours show by themselves
    visitor.card("hostile").hover()
    visitor.page.click("#txt2img_lora_cards .card[data-name=hostile] .train-lora-again")
    visitor.page.wait_for_selector("#train_lora_again :visible")
    visitor.page.click("#train_lora_tab_tools")
    visitor.page.fill("#train_lora_inspect", "hostile")
    visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_selector("#train_lora_panel_tools table")
