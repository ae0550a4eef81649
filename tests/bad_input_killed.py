"""A program for test_bad_input_killed.py: trains and resumes in forked children that it kills at random moments.

Arguments: checkpoint, recipe, folder. Prints one JSON object: kills, torn (kills in the middle of a file), problems.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from diffusers import AutoencoderKL, UNet2DConditionModel  # noqa: F401 - so that a child begins at once
from safetensors.torch import load_file
from transformers import CLIPTextModel  # noqa: F401

from lib_lora_train.app import jobs, runs  # noqa: F401
from lib_lora_train.app.cli import main
from lib_lora_train.engine import state
from lib_lora_train.sampling import draw  # noqa: F401

MOST_KILLS = 60


def child(arguments: list[str]) -> int:
    pid = os.fork()
    if pid == 0:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os._exit(main(arguments))
    return pid


def ended(pid: int, moment: Callable[[], bool]) -> int | None:
    """The exit code, None when it was killed: as soon as `moment` is true."""
    while not moment():
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.0005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def after(seconds: float) -> Callable[[], bool]:
    deadline = time.monotonic() + seconds
    return lambda: time.monotonic() > deadline


class Writing:
    """True when the `count`th file from now on is being written."""

    def __init__(self, out: Path, count: int):
        self.out, self.left, self.known = out, count, self._names(out)

    def __call__(self) -> bool:
        known, self.known = self.known, self._names(self.out)
        new = self.known - known
        self.left -= len(new)
        return self.left <= 0 and bool(new)

    @staticmethod
    def _names(out: Path) -> set[str]:
        places = ("", "train-lora/runs/*/", "train-lora/runs/*/*/")
        return {path.name for place in places for path in out.glob(f"{place}.*.tmp")}


def problems(out: Path) -> list[str]:
    """What is not whole after a kill."""
    found = []
    for path in out.rglob("*"):
        try:
            if path.suffix == ".safetensors":
                load_file(path)
            if path.suffix == ".json":
                json.loads(path.read_text(encoding="utf-8"))
            if path.name == "state" and runs.has_state(runs.find(out / "train-lora", path.parent.name)):
                notes = state.load(path).notes
                found += [f"{path}: {note}" for note in notes]
        except Exception as error:  # noqa: BLE001 - whatever a reader says about it
            found.append(f"{path}: {type(error).__name__}: {error}")
    return found


def newest(out: Path) -> Path | None:
    """The newest run that can go on."""
    folder = out / "train-lora" / "runs"
    found = [path for path in sorted(folder.glob("*/")) if list((path / "state").glob("state-*.safetensors"))]
    return found[-1] if found else None


def trial(checkpoint: str, recipe: str, out: Path, moment: Callable[[], bool]) -> int | None:
    run = newest(out)
    train = ["train", recipe, "--checkpoint", checkpoint, "--out", str(out), "--overwrite"]
    return ended(child(["resume", str(run)] if run else train), moment)


def play(checkpoint: str, recipe: str, folder: Path) -> dict:
    began, rng, out = time.monotonic(), random.Random(7), folder / "killed"
    assert ended(child(["train", recipe, "--checkpoint", checkpoint, "--out", str(folder / "whole")]), after(300)) == 0
    whole_s = time.monotonic() - began
    told = {"kills": 0, "torn": 0, "problems": [], "code": None}
    while told["code"] is None and told["kills"] < MOST_KILLS:
        blind = told["kills"] % 3 == 0
        moment = after(rng.uniform(0.05, 0.5) * whole_s) if blind else Writing(out, rng.randint(1, 15))
        told["code"] = trial(checkpoint, recipe, out, moment)
        if told["code"] is None:
            told["kills"] += 1
            told["torn"] += any(out.rglob("*.tmp"))
            told["problems"] += problems(out)
    return told | {"seconds": time.monotonic() - began}


if __name__ == "__main__":
    print(json.dumps(play(sys.argv[1], sys.argv[2], Path(sys.argv[3]))))
