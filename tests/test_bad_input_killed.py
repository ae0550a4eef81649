"""Killed at any moment, also in the middle of a file: what is there is whole, and going on gives the same LoRA."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from bad_input_stage import TINY, pictures
from safetensors.torch import load_file

from lib_lora_train.settings.load import from_mapping
from lib_lora_train.settings.recipe import dumps

HERE = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")
def test_killed_while_saving_again_and_again_then_resumed_equals_one_go(tmp_path, tiny_checkpoint):
    folder = pictures(tmp_path / "set" / "1_cat")
    often = {"max_train_steps": 40, "save_every_n_steps": 1, "sample_every_n_steps": 10, "make_thumbnail": True}
    settings = from_mapping({**TINY, **often, "train_data_dir": str(folder.parent), "output_name": "cat"})
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(dumps(settings), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}
    command = [sys.executable, HERE / "bad_input_killed.py", tiny_checkpoint, recipe, tmp_path]
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["problems"] == [] and told["code"] == 0, told
    assert told["kills"] >= 5 and told["torn"] >= 3, told
    whole, killed = (load_file(tmp_path / out / "cat.safetensors") for out in ("whole", "killed"))
    assert whole.keys() == killed.keys() and all(whole[name].equal(killed[name]) for name in whole)
    shown = sorted(p.name for p in (tmp_path / "killed").glob("*.*") if not p.name.startswith("."))
    assert shown == ["cat.json", "cat.png", "cat.safetensors"]
