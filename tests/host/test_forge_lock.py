"""While a run holds the loan in the real Forge: pictures pass between two steps; a checkpoint drawn with pauses it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import materials
import pytest
from harness import Spec, WebUI
from test_a1111_lock import (  # noqa: F401 the same promises
    PLAIN,
    STYLED,
    _lora,
    seen,
    steps_more,
    test_a_thread_that_dies_in_a_loan_frees_the_lock,
    test_everybody_who_waits_goes_before_the_next_step,
    test_one_picture_with_another_checkpoint_does_not_pause,
    test_pictures_pass_between_two_steps_unaltered,
    test_the_hosts_pipeline_draws_inside_the_loan,
)

pytestmark = pytest.mark.host


def test_a_checkpoint_that_is_only_chosen_does_not_pause(worker: WebUI, spec: Spec):
    """Forge loads with the next picture; until somebody draws, the run keeps what it has. Our own pictures too."""
    worker.choose("other.safetensors")
    assert steps_more(worker, 4)["switches"] == []
    drawn = worker.post("/probe/worker_draw", {"prompt": PLAIN, "seed": 5})
    assert drawn["chosen"].startswith("other.safetensors")
    assert steps_more(worker, 2)["switches"] == []
    worker.choose(spec.checkpoint.name)
    expected = worker.txt2img(PLAIN, seed=5, sampler_name="DPM++ 2M")
    assert bytes.fromhex(drawn["pictures"][0]) == expected.tobytes()


def test_a_checkpoint_drawn_with_pauses_until_it_is_switched_back(worker: WebUI, spec: Spec):
    other = worker.choose("other.safetensors")
    picture = worker.txt2img(PLAIN)
    report = seen(worker, lambda report: report["switches"])
    assert other in report["switches"][0] and spec.checkpoint.name in report["switches"][0]
    assert worker.txt2img(PLAIN) == picture  # the lock is free meanwhile
    assert worker.post("/probe/worker_report")["steps"] == report["steps"]
    worker.choose(spec.checkpoint.name)
    assert steps_more(worker)["generation"] > 0  # loaded anew: other tensors


def test_another_vae_drawn_with_pauses_too(worker: WebUI, spec: Spec):
    folder = worker.data_dir / "models" / "VAE"
    folder.mkdir(exist_ok=True)
    path = materials.vae_file(spec.checkpoint, folder / "bright.safetensors")
    worker.post("/probe/additional_modules", {"paths": [str(path)]})
    worker.txt2img(PLAIN)
    assert "VAE" in seen(worker, lambda report: report["switches"])["switches"][0]
    worker.post("/probe/additional_modules", {"paths": []})
    steps_more(worker)


def test_a_page_opened_meanwhile_moves_the_weights_and_the_run_finds_them(worker: WebUI):
    """Forge unloads everything before the next picture; the run borrows anew."""
    picture = worker.txt2img(STYLED)
    worker.post("/probe/page_opened_next")
    assert worker.txt2img(STYLED) == picture
    steps_more(worker)


def test_nothing_is_borrowed_while_the_lock_is_free(worker: WebUI):
    """Forge frees a checkpoint before it loads another; references of ours would keep its memory."""
    with ThreadPoolExecutor(1) as pool:
        drawing = pool.submit(worker.txt2img, PLAIN, steps=30, size=128)
        while not worker.get("/sdapi/v1/progress")["state"]["sampling_step"]:
            assert not drawing.done()
            time.sleep(0.02)
        assert worker.post("/probe/worker_borrowed") == {"tensors": 0}
        drawing.result()
    steps_more(worker)
    assert worker.post("/probe/worker_borrowed")["tensors"] > 500
