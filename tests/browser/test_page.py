"""The page as a user works it, on a scripted engine: every state is reached through the real routes."""

from __future__ import annotations

import re
import threading

import pytest
import torch
from conftest import fill_folder, open_tab, served
from stage import Stage, picture_folder

from lib_lora_train.engine import state
from lib_lora_train.errors import OutOfMemory
from lib_lora_train.export import lora_file
from lib_lora_train.export.folder import RunFolder
from lib_lora_train.settings import recipe
from lib_lora_train.settings.load import from_mapping

pytestmark = pytest.mark.browser


@pytest.fixture
def stage(tmp_path):
    made = Stage(tmp_path)
    with served(made.app) as made.address:
        yield made
        if made.runner.status():
            made.runner.tell("stop")
        assert made.runner.wait(20)


@pytest.fixture
def folder(tmp_path):
    return picture_folder(tmp_path / "pictures")


@pytest.fixture
def ready(page, stage, folder):
    """The Recipe sub-tab with pictures, name and trigger filled in."""
    open_tab(page, stage.address)
    fill_folder(page, folder)
    page.wait_for_selector("#train_lora_counts:has-text('3 pictures')")
    page.click("#train_lora_tab_recipe")
    page.evaluate("trainLora.recipe.set('optimizer_type', 'AdamW')")
    page.fill("#train_lora_output_name", "cat")
    page.fill("#train_lora_trigger_word", "cat")
    page.wait_for_selector("#train_lora_prediction:has-text('steps')")
    return page


def start(page) -> None:
    page.click("#train_lora_train")
    page.wait_for_selector("#train_lora_runbar:visible")


def finished(page, timeout: float = 30000) -> str:
    return page.wait_for_selector("#train_lora_outcome .tl-note", timeout=timeout).inner_text()


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


def test_presets_changes_and_reset(ready):
    page = ready
    page.click("[data-preset=style]")
    assert page.get_attribute("[data-preset=style]", "aria-checked") == "true"
    assert page.evaluate("trainLora.recipe.values.output_name") == "cat"
    page.click("#train_lora_all > summary")
    page.fill("#train_lora_search", "batch size")
    page.fill("#train_lora_field_train_batch_size", "3")
    page.wait_for_selector("#train_lora_all > summary:has-text('changed from Style')")
    box = page.locator(".tl-field.tl-changed", has=page.locator("#train_lora_field_train_batch_size"))
    box.locator(".tl-reset").click()
    assert page.evaluate("trainLora.recipe.values.train_batch_size") == 1
    assert box.count() == 0


def test_values_outside_the_advice_warn_and_impossible_ones_are_refused(ready):
    page = ready
    page.click("#train_lora_all > summary")
    page.fill("#train_lora_search", "rank")
    page.fill("#train_lora_field_network_dim", "1000")
    page.wait_for_selector("#train_lora_group_network .tl-warn-text:has-text('768')")
    page.fill("#train_lora_field_network_dim", "lots")
    assert page.get_attribute("#train_lora_field_network_dim", "aria-invalid") == "true"
    page.click("#train_lora_train")
    page.wait_for_selector(".tl-note.tl-bad:has-text('not a number')")
    assert page.evaluate("document.activeElement.id") == "train_lora_field_network_dim"
    assert page.evaluate("trainLora.status.job") is None


def test_recipe_and_tab_are_kept_between_visits(ready, stage):
    page = ready
    page.evaluate("trainLora.recipe.set('network_dim', 12)")
    page.reload()
    page.wait_for_function("window.trainLora && trainLora.recipe.ready")
    assert page.evaluate("trainLora.recipe.values.network_dim") == 12
    assert page.input_value("#train_lora_output_name") == "cat"
    assert page.get_attribute("#train_lora_tab_recipe", "aria-selected") == "true"


def test_sub_tabs_move_by_keys(page, stage):
    open_tab(page, stage.address)
    page.focus("#train_lora_tab_pictures")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "train_lora_tab_recipe"
    page.keyboard.press("End")
    assert page.get_attribute("#train_lora_tab_tools", "aria-selected") == "true"
    assert page.is_visible("#train_lora_panel_tools") and not page.is_visible("#train_lora_panel_recipe")


def test_a_run_from_click_to_results(ready, stage):
    page = ready
    start(page)
    page.wait_for_function("trainLora.current && trainLora.current.points.length > 3")
    page.click("#train_lora_tab_pictures")
    assert page.is_visible("#train_lora_runbar"), "the bar is seen from every sub-tab"
    assert "is finished" in finished(page)
    page.click("#train_lora_tab_bake")
    assert page.locator("#train_lora_samples tbody tr").count() == 4
    assert page.locator(".tl-chart path.tl-smooth").count() == 1
    assert "A step was <b>odd</b>." in page.inner_text("#train_lora_log")
    page.wait_for_function("[...document.querySelectorAll('#train_lora_samples img')].some((i) => i.naturalWidth)")
    page.click("#train_lora_tab_results")
    page.wait_for_selector(".tl-run .tl-state-done")
    assert "<lora:cat:1>" in page.inner_text(".tl-run")


def test_two_clicks_on_train_make_one_run(ready, stage):
    page = ready
    page.evaluate("for (let i = 0; i < 3; i++) document.querySelector('#train_lora_train').click()")
    finished(page)
    assert len(stage.engine.runs) == 1


def test_pause_resume_stop_and_keep(ready, stage):
    page = ready
    stage.engine.steps = 2000
    start(page)
    page.wait_for_function("trainLora.status.job.progress")
    page.click("#train_lora_pause")
    page.wait_for_selector("#train_lora_resume:visible")
    assert page.is_visible("#train_lora_runbar .tl-note:has-text('Paused')")
    step = page.evaluate("trainLora.status.job.progress.step")
    page.wait_for_timeout(1500)
    assert page.evaluate("trainLora.status.job.progress.step") - step <= 1
    page.click("#train_lora_resume")
    page.wait_for_selector("#train_lora_pause:visible")
    page.click("#train_lora_sample")
    page.click("#train_lora_save")
    page.wait_for_function("trainLora.current.published")
    page.click("#train_lora_stop")
    assert "stopped and kept" in finished(page)


def test_reload_and_a_second_browser_find_the_run(ready, stage, browser):
    page = ready
    stage.engine.steps = 2000
    start(page)
    page.wait_for_function("trainLora.current && trainLora.current.points.length > 10")
    page.reload()
    page.wait_for_selector("#train_lora_runbar:visible")
    page.wait_for_function("trainLora.current.points.length > 10 && trainLora.current.points[0].step === 1")
    other = browser.new_context().new_page()
    open_tab(other, stage.address)
    other.wait_for_selector("#train_lora_runbar:visible")
    other.click("#train_lora_stop")
    assert "stopped and kept" in finished(page)
    assert "stopped and kept" in finished(other)
    other.context.close()
    page.reload()
    assert "stopped and kept" in finished(page), "how it ended is still told after a reload"


def test_a_name_that_exists_is_asked_about(ready, stage):
    page = ready
    start(page)
    finished(page)
    page.click("#train_lora_tab_recipe")
    page.click("#train_lora_train")
    page.click("dialog button:has-text('cat_v2')")
    page.wait_for_function("trainLora.status.job && trainLora.status.job.name === 'cat_v2'")
    page.wait_for_function("!trainLora.status.job")
    page.click("#train_lora_tab_recipe")
    page.fill("#train_lora_output_name", "cat")
    page.click("#train_lora_train")
    page.click("dialog button:has-text('Overwrite')")
    page.wait_for_function("trainLora.status.job && trainLora.status.job.name === 'cat'")
    assert [run.naming.output_name for run in stage.engine.runs] == ["cat", "cat_v2", "cat"]


def test_out_of_memory_offers_what_to_lower_and_retries_with_it(ready, stage):
    page = ready

    def fail(settings):
        if settings.training.train_batch_size > 1:
            lower = {"train_batch_size": 1, "gradient_checkpointing": True}
            raise OutOfMemory("The graphics card ran out of memory.", "Lower the batch size.", lower)

    stage.engine.fail = fail
    page.evaluate("trainLora.recipe.set('train_batch_size', 4)")
    page.click("#train_lora_train")
    said = finished(page)
    assert "ran out of memory" in said and "Lower the batch size." in said and "Batch size: 1" in said
    page.evaluate("trainLora.recipe.set('network_dim', 77)")  # the form has moved on; the run's own recipe counts
    page.click("button:has-text('Apply and retry')")
    page.wait_for_selector("#train_lora_outcome .tl-ok", timeout=30000)
    again = stage.engine.runs[-1]
    assert (again.training.train_batch_size, again.training.gradient_checkpointing) == (1, True)
    assert again.network.network_dim == stage.engine.runs[0].network.network_dim != 77


def test_a_run_over_before_the_page_asks_how_it_goes_is_still_told_of(ready, stage):
    page, seen = ready, threading.Event()
    page.on("response", lambda response: "/events" in response.url and seen.set())

    def fail(settings):
        assert seen.wait(20)
        raise OutOfMemory("The graphics card ran out of memory.", "Lower the batch size.", {"train_batch_size": 1})

    def hold(route):
        if seen.is_set():
            stage.runner.wait(20)
        route.continue_()

    stage.engine.fail = fail
    page.route("**/train-lora/v1/status", hold)
    page.click("#train_lora_train")
    assert "ran out of memory" in finished(page, 10000)
    assert page.is_enabled("#train_lora_train")


def test_polling_is_calm_and_survives_a_lost_network(ready, stage):
    page = ready
    stage.engine.steps = 2000
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    def polls() -> int:
        return sum(url.endswith("/status") for url in asked)

    start(page)
    page.wait_for_timeout(1000)
    asked.clear()
    page.wait_for_timeout(5000)
    assert 3 <= polls() <= 6, "once a second while a run is watched"
    page.context.set_offline(True)
    page.wait_for_selector(".tl-note:has-text('does not answer')")
    asked.clear()
    page.wait_for_timeout(6000)
    assert polls() <= 3, "less and less often without a network"
    page.context.set_offline(False)
    page.wait_for_selector(".tl-note:has-text('does not answer')", state="detached", timeout=40000)
    before = page.evaluate("trainLora.current.points.length")
    page.wait_for_function(f"trainLora.current.points.length > {before}")
    page.click("#tab_txt2img-button")
    page.wait_for_timeout(1500)
    asked.clear()
    page.wait_for_timeout(4000)
    assert polls() <= 1, "hardly ever while the tab is not looked at"


def test_the_record_of_a_long_run_does_not_grow(page, stage):
    open_tab(page, stage.address)
    lengths = page.evaluate(
        """() => {
          const run = trainLora.run.create('x', 'x');
          for (let step = 1; step <= 120000; step++) {
            const progress = {event: 'Progress', t: step, step, total_steps: 120000, loss: 1 / step, loss_smooth: 1};
            trainLora.run.apply(run, progress);
            if (step % 100 === 0) trainLora.run.apply(run, {event: 'Warned', t: step, text: `${step}`});
          }
          const steps = run.points.map((point) => point.step);
          const inOrder = steps.every((step, index) => !index || step > steps[index - 1]);
          return [run.points.length, run.log.length, steps[steps.length - 1], inOrder];
        }"""
    )
    assert lengths[0] <= 4001 and lengths[1] <= 300 and lengths[2] > 119000 and lengths[3]


def test_try_in_txt2img_keeps_what_stood_in_the_prompt(page, stage):
    open_tab(page, stage.address)
    put = "([prompt, name, weight, words]) => trainLora.host.withLora(prompt, name, weight, words)"
    assert page.evaluate(put, ["", "cat", 1, "cat"]) == "<lora:cat:1> cat"
    assert page.evaluate(put, ["a garden", "cat", 0.8, "cat"]) == "<lora:cat:0.8> a garden, cat"
    assert page.evaluate(put, ["<lora:cat:1> cat", "cat", 0.5, "cat"]) == "<lora:cat:0.5> cat"
    assert page.evaluate(put, ["<lora:cat2:1> x", "cat", 1, ""]) == "<lora:cat:1> <lora:cat2:1> x"
    assert page.evaluate(put, ["x", "a+b (1)", 1, ""]) == "<lora:a+b (1):1> x"


def test_train_again_from_a_card(ready, stage):
    page = ready
    page.evaluate("trainLora.recipe.set('network_dim', 12)")
    start(page)
    finished(page)
    page.click(".tl-try")
    prompt = "(document.querySelector('#txt2img_prompt textarea') || {}).value"
    page.wait_for_function(f"{prompt} === '<lora:cat:1> cat'")
    page.click("#txt2img_lora_extra_refresh")
    page.evaluate("trainLora.recipe.replace({})")
    page.click(".card[data-name=cat] .train-lora-again")
    page.wait_for_selector("#train_lora_again :has-text('again')")
    assert page.get_attribute("#train_lora_tab_recipe", "aria-selected") == "true"
    assert page.evaluate("trainLora.recipe.values.output_name") == "cat"
    assert page.input_value("#txt2img_prompt textarea") == "<lora:cat:1> cat", "the card's own click did not happen"


def test_what_the_host_translated_stays_translated(ready, stage):
    page = ready
    page.evaluate("document.querySelector('#train_lora_train').firstChild.data = 'Trainieren'")
    start(page)
    page.wait_for_timeout(2500)
    assert page.inner_text("#train_lora_pause") == "Pause"
    page.evaluate("document.querySelector('#train_lora_pause').firstChild.data = 'Anhalten'")
    page.wait_for_timeout(1500)
    assert page.text_content("#train_lora_pause") == "Anhalten"


def test_losses_that_are_no_numbers_leave_a_gap(page, stage):
    open_tab(page, stage.address)
    page.click("#train_lora_tab_bake")
    line = page.evaluate(
        """() => {
          const chart = trainLora.chart.chart();
          trainLora.tab.frame.append(chart.node);
          const losses = [0.5, 0.4, null, 0.3, 0.2];
          chart.set(losses.map((loss, index) => ({step: index + 1, loss, smooth: loss})), 5);
          return chart.node.querySelector('.tl-smooth').getAttribute('d');
        }"""
    )
    assert line.count("M") == 2 and line.count("L") == 2 and "NaN" not in line


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
