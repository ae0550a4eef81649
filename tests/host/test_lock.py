"""While a run holds the loan: pictures pass between two steps, unaltered; a switched checkpoint pauses it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import materials
import pytest
from harness import STEP_S, Spec, WebUI
from PIL import Image

pytestmark = pytest.mark.host
PLAIN, STYLED = "red circle", "red circle <lora:foreign:1>"


@pytest.fixture(scope="module", autouse=True)
def _lora(webui: WebUI, spec: Spec) -> None:
    materials.lora(spec.checkpoint, webui.lora_dir / "foreign.safetensors")


def seen(ui: WebUI, what, seconds: float = 90) -> dict:
    """The worker's report as soon as `what(report)`."""
    deadline = time.monotonic() + seconds
    while not what(report := ui.post("/probe/worker_report")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert what(report), report
    return report


def steps_more(ui: WebUI, count: int = 2) -> dict:
    begun = ui.post("/probe/worker_report")["steps"]
    return seen(ui, lambda report: report["steps"] >= begun + count)


def test_pictures_pass_between_two_steps_unaltered(webui: WebUI, spec: Spec):
    """Byte for byte the same, with and without LoRA, and never later than a step."""
    expected = {prompt: webui.txt2img(prompt) for prompt in (PLAIN, STYLED)}
    assert expected[PLAIN] != expected[STYLED]
    webui.post("/probe/worker_start", {"step_s": STEP_S})
    try:
        for prompt in (PLAIN, STYLED, STYLED, PLAIN):
            begun = webui.post("/probe/worker_report")["steps"]
            assert webui.txt2img(prompt) == expected[prompt]
            assert (
                webui.post("/probe/worker_report")["steps"] <= begun + 2
            )  # the one under way, and perhaps one begun after
    finally:
        report = webui.post("/probe/worker_stop")
    assert report["breaths"] >= 1 and report["error"] == ""  # several pictures may pass in one breath
    assert len(report["outputs"]) == 1  # no step saw a merged LoRA


def test_everybody_who_waits_goes_before_the_next_step(worker: WebUI):
    """A lock taken back at once would serve one picture per step."""
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(worker.txt2img, PLAIN, seed=seed) for seed in range(4)]
        begun = worker.post("/probe/worker_report")["steps"]
        assert len({picture.result().tobytes() for picture in waiting}) == 4
        assert worker.post("/probe/worker_report")["steps"] <= begun + 2


def test_a_switched_checkpoint_pauses_until_it_is_switched_back(worker: WebUI, spec: Spec):
    other = worker.load("other.safetensors")
    report = seen(worker, lambda report: report["switches"])
    assert other in report["switches"][0] and spec.checkpoint.name in report["switches"][0]
    picture = worker.txt2img(PLAIN)  # the lock is free meanwhile
    assert worker.txt2img(PLAIN) == picture
    assert worker.post("/probe/worker_report")["steps"] == report["steps"]
    worker.choose(spec.checkpoint.name)
    assert steps_more(worker)["generation"] > 0  # loaded anew: other tensors


def test_one_picture_with_another_checkpoint_does_not_pause(worker: WebUI):
    """An API call that overrides the checkpoint leaves it loaded; the next picture, or we, load the chosen one."""
    other = worker.txt2img(PLAIN, override_settings={"sd_model_checkpoint": "other.safetensors"})
    assert other != worker.txt2img(PLAIN)
    worker.txt2img(PLAIN, override_settings={"sd_model_checkpoint": "other.safetensors"})
    assert steps_more(worker)["switches"] == []


def test_a_switched_vae_pauses_too(worker: WebUI, spec: Spec):
    folder = worker.data_dir / "models" / "VAE"
    folder.mkdir(exist_ok=True)
    worker.use_vae(materials.vae_file(spec.checkpoint, folder / "bright.safetensors"))
    assert "VAE" in seen(worker, lambda report: report["switches"])["switches"][0]
    worker.use_vae(None)
    steps_more(worker)


def test_the_hosts_pipeline_draws_inside_the_loan(worker: WebUI, spec: Spec):
    """The same picture as the user's, with the LoRA; nothing of the user's is touched, the run goes on."""
    expected = worker.txt2img(STYLED, seed=5, sampler_name="DPM++ 2M")
    history = (worker.data_dir / "params.txt").read_bytes()
    files = set(worker.data_dir.rglob("*.png"))
    drawn = worker.post("/probe/worker_draw", {"prompt": STYLED, "seed": 5, "interrupted": True})
    assert "error" not in drawn, drawn["error"]
    assert drawn["sizes"] == [[64, 64]]  # asked for 67 x 64
    assert Image.frombytes("RGB", (64, 64), bytes.fromhex(drawn["pictures"][0])) == expected
    assert drawn["interrupted"] is True  # the user's flag, from before, is still there for whoever looks
    assert drawn["chosen"].startswith(spec.checkpoint.name)
    assert (worker.data_dir / "params.txt").read_bytes() == history
    assert set(worker.data_dir.rglob("*.png")) == files
    assert worker.post("/probe/read_merged") == {"merged": []}
    steps_more(worker)


def test_a_thread_that_dies_in_a_loan_frees_the_lock(webui: WebUI):
    watched = webui.post("/probe/abandon")
    assert watched["held"] and watched["free"] and watched["waited"] < 3
    webui.txt2img(PLAIN)
