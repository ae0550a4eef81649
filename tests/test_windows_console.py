"""A console or pipe that knows 256 letters (Windows: cp1252, cp437) meets names with all others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from app_stage import pictures, recipe

from lib_lora_train.export import lora_file
from lib_lora_train.settings.recipe import dumps

ROOT = Path(__file__).parents[1]
NAME = "猫 ✓ Ω"
TINY = {
    "resolution": "64", "min_bucket_reso": 64, "max_bucket_reso": 64, "max_token_length": 75, "network_dim": 2,
    "network_alpha": 2, "lr_scheduler": "constant", "optimizer_type": "AdamW", "max_train_steps": 2,
    "sample_every_n_steps": 2, "sample_steps": 1, "mixed_precision": "no", "make_thumbnail": False,
}  # fmt: skip


def run(*command: str | Path, **env: str) -> subprocess.CompletedProcess:
    plain = {k: v for k, v in os.environ.items() if k not in ("PYTHONIOENCODING", "PYTHONUTF8", "LC_ALL", "LANG")}
    plain |= {"PYTHONPATH": str(ROOT), "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "HF_HUB_OFFLINE": "1"}
    plain |= {"LC_ALL": "C.UTF-8"}  # names of files are Unicode on Windows, whatever its consoles speak
    done = subprocess.run([sys.executable, "-m", "lib_lora_train", *command], env={**plain, **env}, capture_output=True)
    assert b"Traceback" not in done.stderr and b"Error" not in done.stderr, done.stderr.decode(errors="replace")
    return done


@pytest.fixture
def lora(tmp_path):
    path = tmp_path / f"{NAME}.safetensors"
    lora_file.save(path, {"lora_te_x.alpha": torch.ones(1)}, {"ss_output_name": NAME, "ss_tag_frequency": '{"猫": 1}'})
    return path


@pytest.mark.parametrize("encoding", ["cp1252:strict", "cp437:strict", "ascii:strict"])
def test_inspect_shows_what_the_console_can(lora, encoding):
    done = run("inspect", lora, PYTHONIOENCODING=encoding)
    assert done.returncode == 0 and done.stdout.decode(encoding.split(":")[0])


def test_what_goes_into_a_file_is_utf_8_whatever_the_system_speaks(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(dumps(recipe(tmp_path, **TINY, output_name=NAME)), encoding="utf-8")
    done = run("export", path, LC_ALL="C")
    assert done.returncode == 0 and NAME in done.stdout.decode("utf-8")


def test_a_refusal_names_what_the_console_cannot_show(tmp_path):
    done = run("inspect", tmp_path / f"{NAME} is not there.safetensors", PYTHONIOENCODING="cp1252:strict")
    assert done.returncode == 2 and b"is not there" in done.stderr


@pytest.mark.slow
def test_a_whole_run_with_bar_and_messages(tmp_path, tiny_checkpoint):
    folder = pictures(tmp_path / f"set {NAME}")
    path = tmp_path / "recipe.toml"
    path.write_text(dumps(recipe(folder, **TINY, output_name=NAME, trigger_word="猫")), encoding="utf-8")
    out = tmp_path / f"out {NAME}"
    command = ("train", path, "--checkpoint", tiny_checkpoint, "--out", out, "--json")
    done = run(*command, PYTHONIOENCODING="cp1252:strict")
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    assert json.loads(done.stdout)["state"] == "done" and (out / f"{NAME}.safetensors").exists()
