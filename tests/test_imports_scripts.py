"""Scripts as people pass them on: broken over lines, put together, commented out; files for other kinds of models."""

from __future__ import annotations

import json

import pytest
from test_imports_formats import EASY, KOHYA, holds, settings

OF_THE_MANUAL = """accelerate launch --num_cpu_threads_per_process 1 train_network.py
 --dataset_config="my_dataset_config.toml"
 --output_name="my_lora"
 --network_module=networks.lora
 --network_dim=8
 --optimizer_args weight_decay=0.1
"""
PUT_TOGETHER = r"""# don't train this one: accelerate launch train_network.py --network_dim=4
$outputDir = "d:\lora"
$name = "harold"
$second = "$name" + "e2"
$folder = $outputDir + "\faces
accelerate launch "./sdxl_train_network.py" --output_dir="$outputDir\" --network_dim=16 `
    --output_name="$second" --network_module=networks.lora
"""


def test_lines_of_options_belong_to_the_command_above():
    found = settings("train.sh", OF_THE_MANUAL)
    holds(found, output_name="my_lora", network_dim=8, optimizer_args="weight_decay=0.1")
    assert any(line.startswith("dataset_config = my_dataset_config.toml") for line in found.not_carried)


def test_powershell_puts_texts_together_and_comments_are_none_of_the_command():
    holds(settings("train.ps1", PUT_TOGETHER), output_name="harolde2", network_dim=16)


@pytest.mark.parametrize("line", ["# ", ":: ", "rem ", "REM "])
def test_a_command_commented_out_is_not_read(line):
    found = settings("train.bat", f"{line}train_network.py --network_dim=4\ntrain_network.py --network_dim=6\n")
    holds(found, network_dim=6)


def test_a_silent_command_of_a_batch_file_is_read():
    holds(settings("train.bat", "@echo off\n@train_network.py --network_dim=6\n"), network_dim=6)


@pytest.mark.parametrize("switch", ["flux1_checkbox", "sd3_checkbox"])
def test_models_of_another_kind_are_named(switch):
    assert not any("checkbox" in line for line in settings("cat.json", json.dumps(KOHYA)).not_carried)
    found = settings("cat.json", json.dumps({**KOHYA, switch: True}))
    assert f"{switch} = True: made for models that are not trained here" in found.not_carried


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('train_mode = "lora"', 'train_mode = "textual_inversion"', "train_mode = textual_inversion"),
        ("[general_args.args]", "[flux_args.args]\nguidance_scale = 3.5\n[general_args.args]", "flux_args = True"),
    ],
)
def test_what_easy_training_scripts_train_besides_is_named(old, new, named):
    plain, other = settings("cat.toml", EASY), settings("cat.toml", EASY.replace(old, new))
    assert not any(line.startswith(named) for line in plain.not_carried)
    assert any(line.startswith(named) for line in other.not_carried)
    assert other.settings == plain.settings
