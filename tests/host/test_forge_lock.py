"""While a run holds the loan in the real Forge and its kin: weights move, and are loaded only when somebody draws."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import Spec, WebUI
from test_lock import PLAIN, STYLED, _lora, steps_more  # noqa: F401 a fixture among them

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
