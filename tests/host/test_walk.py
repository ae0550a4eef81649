"""What is done beside a training in the real web UI's page: measuring, a queue, other wishes, deleting; all of it real.

How the page answers every way a run can go is asked by tests/browser with the same web UI.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import blob_pictures as pictures
import pytest
from harness import WebUI
from test_e2e_story import ENDLESS, QUICK
from webui_page import LONG, WebPage, until

pytestmark = [pytest.mark.host, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def filled(visitor: WebPage, webui: WebUI, tmp_path: Path):
    """`filled(name, **recipe)`: the form with that recipe, and pictures of its own; the pictures' folder."""
    webui.load(webui.spec.checkpoint.name)
    visitor.page.set_default_timeout(LONG)

    def fill(name: str, **changes) -> Path:
        folder, recipe = pictures.make(tmp_path / name, count=4), tmp_path / f"{name}.json"
        recipe.write_text(json.dumps({**QUICK, "max_train_steps": 8, "make_thumbnail": False, **changes}))
        visitor.fill(folder, name, "blob", recipe)
        return folder

    yield fill
    if webui.get("/train-lora/v1/status")["job"]:
        webui.post("/train-lora/v1/stop")
        until(lambda: not webui.get("/train-lora/v1/status")["job"], 300)


def told(webui: WebUI, run: str, kind: str) -> list[dict]:
    events = webui.get(f"/train-lora/v1/events?run={run}&after=0")["events"]
    return [event for event in events if event["event"] == kind]


def test_a_recipe_is_measured_with_real_steps(visitor: WebPage, webui: WebUI, filled):
    page, plain = visitor.page, webui.txt2img("a house")
    filled("measured")
    page.click("#train_lora_measure")
    page.wait_for_selector("#train_lora_measured .tl-ok:has-text('It fits')")
    page.wait_for_selector("#train_lora_prediction small:text-is('measured')")
    assert not [run for run in webui.get("/train-lora/v1/runs")["runs"] if run["name"] == "measured"]
    assert webui.txt2img("a house") == plain


def test_prompts_and_intervals_are_changed_while_it_trains(visitor: WebPage, webui: WebUI, filled):
    page = visitor.page
    filled("wishes", **ENDLESS)
    run = visitor.train()
    visitor.steps_more(2)
    page.click("#train_lora_tab_bake")
    page.click("#train_lora_wishes summary")
    page.wait_for_function("document.querySelector('#train_lora_wish_sample_every_n_steps').value !== ''")
    page.fill("#train_lora_wish_sample_prompts", "blob, asleep")
    page.fill("#train_lora_wish_sample_every_n_steps", "3")
    page.click("#train_lora_wishes button:has-text('Change')")
    page.wait_for_selector("#train_lora_log li:has-text('Changed: sample prompts, samples every.')")
    page.wait_for_function("document.querySelectorAll('#train_lora_samples tbody tr').length >= 2")
    page.click("#train_lora_stop")
    assert "stopped and kept" in visitor.finished()
    drawn = told(webui, run, "Sampled")
    assert {one["prompt"] for one in drawn} == {"blob, asleep"} and all(one["step"] % 3 == 0 for one in drawn[:2])


def test_a_queue_is_trained_though_one_fails(visitor: WebPage, webui: WebUI, filled):
    page = visitor.page
    for name in ("one", "lost", "two"):
        folder = filled(name)
        page.click("#train_lora_enqueue")
        page.wait_for_selector(f"#train_lora_queue li:has-text('{name}') >> text=waits")
        if name == "lost":
            lost = folder
    shutil.rmtree(lost)
    page.click("[aria-label='two earlier']")
    page.wait_for_function("document.querySelector('#train_lora_queue li:nth-child(2) b').textContent === 'two'")
    page.click("button:has-text('Start the queue')")
    page.wait_for_selector("#train_lora_queue .tl-bad:has-text('lost')")
    page.wait_for_function("document.querySelectorAll('#train_lora_queue li').length === 1 && !trainLora.status.job")
    names = [run["name"] for run in webui.get("/train-lora/v1/runs")["runs"] if run["state"] == "done"]
    assert names[:2] == ["two", "one"], "in the order of the queue, the newest first"
    assert all((webui.lora_dir / f"{name}.safetensors").is_file() for name in ("one", "two"))
    page.click("[aria-label='Remove lost from the queue']")
    page.wait_for_function("document.querySelectorAll('#train_lora_queue li').length === 0")


def test_a_run_is_deleted_with_its_lora_and_comes_back(visitor: WebPage, webui: WebUI, filled):
    page = visitor.page
    filled("gone")
    run = visitor.train()
    assert "is finished" in visitor.finished()
    styled = webui.txt2img("blob <lora:gone:1>")
    page.click("#train_lora_tab_results")
    page.click(f".tl-run[data-run='{run}'] button:has-text('Delete')")
    page.click("dialog button:has-text('The run and “gone”')")
    page.wait_for_selector(f".tl-run[data-run='{run}']", state="detached")
    assert not list(webui.lora_dir.glob("gone.*"))
    page.click("#train_lora_panel_results .tl-ok button:has-text('Undo')")
    page.wait_for_selector(f".tl-run[data-run='{run}'] .tl-snapshot")
    assert webui.txt2img("blob <lora:gone:1>") == styled
    visitor.cards().card("gone")
