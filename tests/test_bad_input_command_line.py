"""Files that are not what the command line or a recipe takes them for, damaged runs, ports in use, Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from bad_input_stage import TINY, pictures
from safetensors.torch import load_file, save_file

from lib_lora_train.app.cli import main
from lib_lora_train.settings.load import from_mapping
from lib_lora_train.settings.recipe import dumps

ROOT = Path(__file__).parents[1]


# a file to continue from


def _of_other_kinds(tensors: dict) -> dict[str, tuple[dict, str]]:
    """(tensors, what is said about them) by name."""
    texts = {k.replace("lora_te_", "lora_te1_"): t for k, t in tensors.items() if k.startswith("lora_te_")}
    unet = {k.replace("down_blocks_0_", "input_blocks_4_1_"): t for k, t in tensors.items() if "down_blocks_0_" in k}
    sd2 = {k: torch.zeros(2, 1024) if k.endswith("attn2_to_k.lora_down.weight") else t for k, t in tensors.items()}
    return {
        "sdxl": ({**texts, **unet}, "is for SDXL"),
        "sd2": (sd2, "is for SD2"),
        "nan": ({k: t * float("nan") for k, t in tensors.items()}, "not finite"),
        "loha": ({"lora_unet_x.hada_w1_a": torch.ones(2, 2)}, "incomplete"),
        "stray": ({"weight": torch.ones(2)}, "not a LoRA"),
        "half": ({k: t for k, t in tensors.items() if "up" not in k.split(".")[1]}, "incomplete"),
    }


def test_arguments_that_no_optimiser_takes_are_refused_at_the_click(program):
    for kind, args, what, allowed in (
        (
            "AdamW",
            "weight_decoy=1",
            "AdamW has no argument `weight_decoy`",
            "`weight_decay`? AdamW takes amsgrad=False",
        ),
        ("AdamW8bit", "betas=nonsense", "`betas=nonsense` is not a number", "betas=0.9,0.99"),
        ("AdamW", "decay", "`decay` is no `name=value`", "AdamW takes amsgrad=False, betas=(0.9, 0.999)"),
        ("AdaFactor", "eps=1", "Adafactor refuses its arguments", "eps=(1e-30, 0.001)"),
    ):
        for route in ("start", "queue/add", "measure"):
            body = program.refused(route, optimizer_type=kind, optimizer_args=args)
            assert what in body["error"] and allowed in body["remedy"], (route, body)
            assert body["field"] == "optimizer_args"
    program.trained(optimizer_args="weight_decay=0.1 betas=0.9,0.95")


def test_what_cannot_be_continued_from_is_refused_at_the_click(program):
    program.trained(output_name="good")
    good = program.loras / "good.safetensors"
    files = {
        "pickled.pt": (pickle.dumps({}), "can carry programs", "Use a .safetensors"),
        "cut.safetensors": (good.read_bytes()[:-100], "cut.safetensors cannot be read", "Choose another"),
        "empty.safetensors": (b"", "empty.safetensors cannot be read", "Choose another"),
        "text.safetensors": (b"hello" * 99, "text.safetensors cannot be read", "Choose another"),
    }
    for name, (content, what, remedy) in files.items():
        (program.root / name).write_bytes(content)
        body = program.refused(network_weights=str(program.root / name))
        assert what in body["error"] and remedy in body["remedy"] and body["field"] == "network_weights", body
    for name, (tensors, what) in _of_other_kinds(load_file(good)).items():
        save_file(tensors, program.root / f"{name}.safetensors")
        body = program.refused(network_weights=str(program.root / f"{name}.safetensors"))
        assert what in body["error"] and body["field"] == "network_weights", (name, body)
    body = program.refused(network_weights="good.safetensors", network_dim=4)
    assert "has the rank 2, the recipe 4" in body["error"] and "Set the rank to 2, or" in body["remedy"]
    body = program.refused(network_weights="good.safetensors", train_text_encoder=False)
    assert "also holds the text encoder" in body["error"] and "Switch on" in body["remedy"]
    assert "nowhere" in program.refused(network_weights="nowhere.safetensors")["error"]
    program.trained(network_weights="good.safetensors", output_name="on")


# a checkpoint


def _args(program, checkpoint, *more) -> list[str]:
    recipe = program.root / "recipe.toml"
    if not recipe.exists():
        recipe.write_text(dumps(from_mapping(program.settings(output_name="line"))), encoding="utf-8")
    return ["train", str(recipe), "--checkpoint", str(checkpoint), "--out", str(program.root / "out"), *more]


def test_a_checkpoint_that_is_none_is_refused_before_anything_is_made(program, tiny_checkpoint, capsys):
    whole = tiny_checkpoint.read_bytes()
    tensors = load_file(tiny_checkpoint)
    inpainting = {**tensors, "model.diffusion_model.input_blocks.0.0.weight": torch.zeros(32, 9, 3, 3)}
    files = {
        "cut.safetensors": whole[: len(whole) // 2],
        "empty.safetensors": b"",
        "garbage.safetensors": b"\xff" * 1000,
        "old.ckpt": b"\x80\x04}.",
        "inpainting.safetensors": inpainting,
        "lora.safetensors": {"lora_unet_x.lora_down.weight": torch.ones(1, 1)},
        "no vae.safetensors": {k: t for k, t in tensors.items() if not k.startswith("first_stage_model.")},
    }
    words = {"inpainting.safetensors": "an inpainting model", "old.ckpt": "is not a .safetensors file",
             "lora.safetensors": "architecture", "no vae.safetensors": "VAE"}  # fmt: skip
    for name, content in files.items():
        path = program.root / name
        path.write_bytes(content) if isinstance(content, bytes) else save_file(content, path)
        shutil.copy(tiny_checkpoint.with_suffix(".yaml"), path.with_suffix(".yaml"))
        code = main(_args(program, path))
        said = capsys.readouterr().err
        assert code == 2 or (code, name) == (1, "no vae.safetensors"), (name, said)
        assert words.get(name, name) in said and len([line for line in said.splitlines() if line.strip()]) >= 2, said
        assert "Traceback" not in said and not list((program.root / "out").glob("*.safetensors"))
    assert main(_args(program, tiny_checkpoint)) == 0


def test_a_checkpoint_that_is_damaged_while_the_page_is_open_is_said_in_the_head_line(program, tiny_checkpoint):
    own = program.root / "own.safetensors"
    shutil.copy(tiny_checkpoint, own)
    shutil.copy(tiny_checkpoint.with_suffix(".yaml"), own.with_suffix(".yaml"))
    own.write_bytes(own.read_bytes()[:5000])
    program.host.load(own)
    status = program.get("status")["host"]
    assert "own.safetensors cannot be read" in status["problem"] and status["remedy"]
    assert "own.safetensors" in program.refused(code=409)["error"]
    for shape in ([], [-1, 3], ["a"], [2**70, 2], [1, 2, 3, 4, 5, 6]):
        entry = {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}
        header = json.dumps({"model.diffusion_model.input_blocks.0.0.weight": entry}).encode()
        own.write_bytes(len(header).to_bytes(8, "little") + header)
        program.host.load(own)
        assert program.get("status")["host"]["problem"]
        assert program.post("check", settings=program.settings()).status_code == 200
        assert program.post("start", settings=program.settings()).status_code == 409
    program.host.load(tiny_checkpoint)


# a recipe file


@pytest.mark.parametrize(
    "content, what",
    [
        ("output_name = 'K\xe4se'".encode("latin-1"), "Save it as UTF-8"),
        ("output_name = 'x'".encode("utf-16"), "Save it as UTF-8"),
        (b"\xff\xfe\x00", "Save it as UTF-8"),
        (b"output_name = ", "not valid TOML"),
        (b"a = " + b"[" * 100_000, "not valid TOML"),
        (b"max_train_steps = 1" + b"0" * 5000, "not valid TOML"),
        (b"learning_rate = inf", "`learning_rate` cannot be 'inf'"),
        (b"recipe_version = 7\n[magic]\nwand = true", "version 7"),
        (b"network_dmi = 3", "Did you mean `network_dim`?"),
        (b"[network]\nnetwork_dim = 'many'", "'many'"),
    ],
)
def test_a_recipe_that_cannot_be_read_names_file_and_place(tmp_path, tiny_checkpoint, capsys, content, what):
    path = tmp_path / "my recipe.toml"
    path.write_bytes(content)
    assert main(["train", str(path), "--checkpoint", str(tiny_checkpoint), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "my recipe.toml" in said and what in said and "Traceback" not in said
    assert not (tmp_path / "out").exists()


def test_a_recipe_that_is_a_folder(tmp_path, tiny_checkpoint, capsys):
    assert main(["train", str(tmp_path), "--checkpoint", str(tiny_checkpoint)]) == 2
    assert "Name a recipe file" in capsys.readouterr().err


# processes


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}


def test_a_port_in_use_is_said_before_anybody_is_sent_there(tmp_path):
    pytest.importorskip("gradio")
    with contextlib.closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        command = [sys.executable, "-m", "demo", "--port", port, "--no-browser", "--out", str(tmp_path)]
        done = subprocess.run(command, cwd=ROOT, env=_environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert f"Port {port} cannot be used" in done.stderr and "--port" in done.stderr and "Traceback" not in done.stderr
    assert "http://" not in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_ctrl_c_stops_and_keeps(tmp_path, tiny_checkpoint):
    folder = pictures(tmp_path / "set" / "1_cat", 3)
    recipe = tmp_path / "recipe.toml"
    settings = {**TINY, "max_train_steps": 100_000, "train_data_dir": str(folder.parent), "output_name": "cat"}
    recipe.write_text(dumps(from_mapping(settings)), encoding="utf-8")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "lib_lora_train", "train", recipe, "--checkpoint", tiny_checkpoint, "--out", out]
    with subprocess.Popen(
        list(map(str, [*command, "--json"])), cwd=ROOT, env=_environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        deadline = time.monotonic() + 120
        while not any(b'"Progress"' in path.read_bytes() for path in out.glob("train-lora/runs/*/events.jsonl")):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        said, complaints = process.communicate(timeout=60)
    assert process.returncode == 3, complaints
    assert "Stopping after this step, keeping what is trained" in complaints and "Traceback" not in complaints
    report = json.loads(said.splitlines()[-1])
    assert report["state"] == "stopped" and load_file(report["lora"]) and not list(out.rglob("*.tmp"))
