"""The demo from end to end: training without a page teaches the shipped checkpoint the concept, and harms nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", minversion="2.4")  # the figures are those of the locked packages

ROOT = Path(__file__).parents[1]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict:
    out = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "demo", "--headless", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def judged(trained: dict) -> dict:
    from demo.make_trial import CHECKPOINT, trial

    return trial(CHECKPOINT, Path(trained["lora"]))


def test_the_last_line_says_where_everything_is(trained: dict) -> None:
    assert all(Path(trained[name]).is_file() for name in ("lora", "thumbnail", "card"))
    assert trained["state"] == "done" and trained["steps"] > 0
    assert 0 < trained["seconds_to_first_step"] < trained["seconds"]


def test_the_held_out_loss_falls_clearly_more_than_it_varies(trained: dict) -> None:
    assert trained["loss_before"] - trained["loss_after"] > 3 * trained["loss_spread"] > 0


def test_the_trigger_word_draws_the_concept(judged: dict) -> None:
    assert judged["pibs_before"] == 0
    assert judged["pibs_after"] >= 8


def test_other_prompts_are_as_before(judged: dict) -> None:
    assert judged["others_after"] == judged["others_before"] == 0
    assert judged["others_same"] >= 8
