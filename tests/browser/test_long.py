"""A page that is left open: eight hours of a run, a network that is gone for a minute, two browsers at once."""

from __future__ import annotations

import pytest
from browser_stage import finished, open_tab, start

pytestmark = pytest.mark.browser

# Answers as the server gives them, at once: `hours(n)` lets so many hours pass, eight steps to each look.
EIGHT_HOURS = """() => {
  let step = 0, told = [];
  const job = () => ({
    id: '20260101-000000-long', kind: 'train', name: 'long', state: 'running', phase: null, paused_text: '',
    progress: told.at(-1) || null,
  });
  const status = () => ({...trainLora.status, queue: {going: false, waiting: 0, version: 0}, job: job()});
  const make = (kind, more) => ({event: kind, t: step, ...more});
  function pass() {
    for (let i = 0; i < 8; i++) {
      step += 1;
      told.push(make('Progress', {
        step, total_steps: 28800, epoch: 1, epochs: 1, loss: Math.random(), loss_smooth: 0.1, it_per_s: 1,
        lr: {unet: 1e-4, text_encoder: 5e-5}, eta_s: 28800 - step, memory_gb: 5, skipped: 0,
      }));
      for (let index = 0; step % 200 === 0 && index < 4; index++) {
        const path = `samples/${step}-${index}.png`;
        told.push(make('Sampled', {step, index, prompt: `prompt ${index}`, seed: 1, path}));
      }
      if (step % 400 === 0) told.push(make('Warned', {text: `Something at step ${step}.`, remedy: 'Nothing to do.'}));
    }
  }
  const news = () => ({events: told.splice(0), next: step * 10});
  const real = window.fetch;
  window.fetch = (address, options) => {
    const url = String(address);
    const answer = url.includes('/status') ? status() : url.includes('/events') ? news() : null;
    if (!answer) return real(address, options);
    return Promise.resolve(new Response(JSON.stringify(answer)));
  };
  window.hours = async (count) => {
    for (let look = 0; look < count * 450; look++) {
      pass();
      const last = told.filter((one) => one.event === 'Progress').at(-1);
      await trainLora.live.now();
      told = [];
      trainLora.status.job.progress = last;
      if (look % 50 === 0) await new Promise((done) => setTimeout(done));
    }
    return trainLora.current.points.at(-1).step;
  };
}"""


def size_of(page, client) -> dict[str, float]:
    page.wait_for_timeout(3000)  # what a web UI's page observes it lets go of a moment later
    client.send("HeapProfiler.collectGarbage")
    found = {item["name"]: item["value"] for item in client.send("Performance.getMetrics")["metrics"]}
    return {name: found[name] for name in ("JSHeapUsedSize", "Nodes", "JSEventListeners")}


def test_a_page_open_for_eight_hours_does_not_grow(page, stage):
    open_tab(page, stage.address)
    page.route("**/runs/*/file*", lambda route: route.abort())
    page.click("#train_lora_tab_bake")
    page.wait_for_selector("#train_lora_panel_bake > section")
    client = page.context.new_cdp_session(page)
    client.send("Performance.enable")
    page.evaluate(EIGHT_HOURS)
    page.set_default_timeout(240000)
    assert page.evaluate("hours(2)") == 7200
    early = size_of(page, client)
    assert page.evaluate("hours(6)") == 28800
    late = size_of(page, client)
    assert page.locator("#train_lora_samples tbody tr").count() == 40
    assert late["Nodes"] < early["Nodes"] * 1.3 + 500, (early, late)
    assert late["JSEventListeners"] < early["JSEventListeners"] * 1.3 + 100, (early, late)
    assert late["JSHeapUsedSize"] < early["JSHeapUsedSize"] + 4e6, (early, late)


def test_a_minute_without_a_network_loses_nothing(ready, stage):
    page = ready
    stage.engine.steps, stage.engine.pause_s = 3000, 0.05
    start(page)
    page.wait_for_function("trainLora.current && trainLora.current.points.length > 3")
    page.clock.install()
    page.context.set_offline(True)
    for _ in range(12):
        page.clock.run_for(5000)
        page.wait_for_timeout(100)
    page.wait_for_selector(".tl-note:has-text('does not answer')")
    page.context.set_offline(False)
    for _ in range(8):
        page.clock.run_for(5000)
        page.wait_for_timeout(200)
    page.wait_for_selector(".tl-note:has-text('does not answer')", state="detached")
    assert page.evaluate("trainLora.current.points.every((point, index) => point.step === index + 1)")
    assert page.evaluate("trainLora.current.points.length") > 20


def test_two_browsers_see_the_same_run_and_queue(ready, stage, browser):
    page = ready
    stage.engine.steps = 2000
    other = browser.new_context().new_page()
    open_tab(other, stage.address)
    other.click("#train_lora_tab_bake")
    start(page)
    page.click("#train_lora_tab_recipe")
    page.fill("#train_lora_output_name", "next")
    page.click("#train_lora_enqueue")
    other.wait_for_selector("#train_lora_queue li:has-text('next')")
    other.click("[aria-label='Remove next from the queue']")
    page.wait_for_function("document.querySelectorAll('#train_lora_queue li').length === 0")
    other.wait_for_selector("#train_lora_runbar:visible")
    other.click("#train_lora_stop")
    assert "stopped and kept" in finished(page)
    other.context.close()
