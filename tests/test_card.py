"""Training, saving, resuming and drawing on a graphics card, which is pretended (tests/card/): every tensor has to be
where it is computed with, and steps must not wait for the card more than they need."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

TESTS = Path(__file__).parent
ON_A_CARD = {  # with what `-k` picks
    "card/checks.py": "",
    "test_engine_run.py": "",
    "test_engine_resume.py": "straight_run and (AdamW8bit or Prodigy or mid)",
    "test_sampling_draw.py": "",
}


CAN_PRETEND = sys.platform == "linux" and torch.version.cuda is None and shutil.which("g++")


@pytest.mark.slow
@pytest.mark.skipif(not CAN_PRETEND, reason="needs Linux, torch's CPU build and g++")
@pytest.mark.parametrize("file", ON_A_CARD)
def test_on_a_card(file, tmp_path):
    paths = os.pathsep.join(map(str, (TESTS / "card", TESTS, TESTS.parent)))
    env = {**os.environ, "PYTHONPATH": paths, "TEST_DEVICE": "cuda", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "plugin", "-p", "no:cacheprovider", str(TESTS / file)]
    command += ["-k", ON_A_CARD[file], "--basetemp", str(tmp_path / "inner")]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
