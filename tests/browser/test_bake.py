"""Sub-tab Bake and the run bar, on a scripted engine: from the click to every way a run can end."""

from __future__ import annotations

import threading

import pytest
from browser_stage import finished, open_tab, reload, start
from PIL import Image

from lib_lora_train.errors import OutOfMemory

pytestmark = pytest.mark.browser


def test_a_run_from_click_to_results(ready, stage):
    page = ready
    start(page)
    page.wait_for_function("trainLora.current && trainLora.current.points.length > 3")
    page.click("#train_lora_tab_pictures")
    assert page.is_visible("#train_lora_runbar"), "the bar is seen from every sub-tab"
    assert "is finished" in finished(page)
    page.click("#train_lora_tab_bake")
    page.wait_for_selector("#train_lora_samples tbody tr >> nth=3")
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
    reload(page)
    page.wait_for_selector("#train_lora_runbar:visible")
    page.wait_for_function("trainLora.current.points.length > 10 && trainLora.current.points[0].step === 1")
    other = browser.new_context().new_page()
    open_tab(other, stage.address)
    other.wait_for_selector("#train_lora_runbar:visible")
    other.click("#train_lora_stop")
    assert "stopped and kept" in finished(page)
    assert "stopped and kept" in finished(other)
    other.context.close()
    reload(page)
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
    page.wait_for_function("trainLora.current.name === 'cat' && trainLora.current.points.length")
    assert [run.naming.output_name for run in stage.engine.runs] == ["cat", "cat_v2", "cat"]


def test_out_of_memory_offers_what_to_lower_and_retries_with_it(ready, stage):
    page = ready
    stage.engine.out_of_memory = {"train_batch_size": 4}
    stage.engine.lower = {"train_batch_size": 1, "gradient_checkpointing": True}
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


def test_losses_that_are_no_numbers_leave_a_gap(page, stage):
    open_tab(page, stage.address)
    page.click("#train_lora_tab_bake")
    page.wait_for_function("trainLora.chart")
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


def test_the_curves_are_zoomed_by_drag_keys_and_wheel_and_saved(ready, stage, tmp_path):
    page = ready
    stage.engine.pause_s = 0.01
    start(page)
    finished(page)
    page.click("#train_lora_tab_bake")
    page.wait_for_selector(".tl-chart path.tl-rate-0", state="attached")
    box = page.locator(".tl-chart").bounding_box()
    middle, left = box["y"] + 80, box["x"]
    page.mouse.move(left + 150, middle)
    page.mouse.down()
    page.mouse.move(left + 300, middle, steps=3)
    page.mouse.up()
    whole = page.locator(".tl-chart-box button:has-text('Whole run')")
    assert whole.is_visible(), "zoomed by dragging"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("-")
    page.keyboard.press("0")
    assert not whole.is_visible()
    page.mouse.wheel(0, -300)
    whole.wait_for()
    page.mouse.dblclick(left + 200, middle)
    assert not whole.is_visible()
    with page.expect_download() as picture:
        page.click("button:has-text('Save as picture')")
    saved = tmp_path / "chart.png"
    picture.value.save_as(saved)
    with Image.open(saved) as image:
        assert image.size[0] > 500 and len(image.convert("RGB").getcolors(1 << 24)) > 20
    with page.expect_download() as numbers:
        page.click("button:has-text('Save the numbers')")
    assert numbers.value.suggested_filename == "cat loss.csv"
    lines = numbers.value.path().read_text(encoding="utf-8").splitlines()
    assert lines[0] == "step,epoch,loss,loss_smooth,lr_unet" and len(lines) == 41
    assert lines[1] == "1,1,0.2,0.2,0.0001"


def test_prompts_and_intervals_are_changed_while_it_runs(ready, stage):
    page = ready
    stage.engine.steps = 2000
    start(page)
    page.wait_for_function("trainLora.current && trainLora.current.points.length > 3")
    page.click("#train_lora_wishes summary")
    page.wait_for_function("document.querySelector('#train_lora_wish_sample_every_n_steps').value !== ''")
    page.fill("#train_lora_wish_sample_prompts", "cat --what 3")
    page.click("#train_lora_wishes button:has-text('Change')")
    page.wait_for_selector("#train_lora_wishes .tl-bad:has-text('not understood')")
    page.fill("#train_lora_wish_sample_prompts", "cat, asleep")
    page.fill("#train_lora_wish_sample_every_n_steps", "7")
    page.click("#train_lora_wishes button:has-text('Change')")
    page.wait_for_selector("#train_lora_wishes .tl-ok")
    page.wait_for_selector("#train_lora_log li:has-text('Changed:')")
    assert "Changed: sample prompts, samples every." in page.inner_text("#train_lora_log")
    assert stage.engine.changed == {"sample_prompts": "cat, asleep", "sample_every_n_steps": 7}
    page.click("#train_lora_stop")
    finished(page)


def test_a_queue_is_filled_sorted_and_trained_though_one_fails(ready, stage):
    page = ready
    stage.engine.out_of_memory = {"output_name": "b"}
    stage.engine.steps, stage.engine.pause_s = 12, 0.02
    for name in ("a", "b", "c"):
        page.click("#train_lora_tab_recipe")
        page.fill("#train_lora_output_name", name)
        page.click("#train_lora_enqueue")
        page.wait_for_selector(f"#train_lora_queue li:has-text('{name}') >> text=waits")
    page.click("[aria-label='c earlier']")
    page.wait_for_function("document.querySelector('#train_lora_queue li:nth-child(2) b').textContent === 'c'")
    reload(page)
    page.wait_for_selector("#train_lora_queue li >> nth=2")
    page.click("button:has-text('Start the queue')")
    page.wait_for_selector("#train_lora_queue .tl-bad:has-text('ran out of memory')", timeout=60000)
    page.wait_for_function("document.querySelectorAll('#train_lora_queue li').length === 1", timeout=60000)
    assert [run.naming.output_name for run in stage.engine.runs] == ["a", "c", "b"]
    page.click("[aria-label='Remove b from the queue']")
    page.wait_for_function("document.querySelectorAll('#train_lora_queue li').length === 0")


def test_notification_and_sound_are_off_until_wanted(ready, stage):
    page = ready
    page.evaluate(
        """() => {
          window.told = [];
          window.AudioContext = class { constructor() { told.push('sound'); throw new Error('no device'); } };
          window.Notification = class { constructor(title, more) { told.push(more.body); } };
          Notification.permission = 'granted';
          Notification.requestPermission = async () => 'granted';
        }"""
    )
    stage.engine.pause_s = 0.1
    start(page)
    finished(page)
    assert page.evaluate("told") == []
    page.click("#train_lora_tab_bake")
    page.check("#train_lora_end_notify")
    page.click("#train_lora_tab_recipe")
    page.fill("#train_lora_output_name", "second")
    start(page)
    page.wait_for_function("told.length === 1")
    assert page.evaluate("told") == ["second is finished."]
