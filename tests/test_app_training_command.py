"""The command line trains real LoRAs on the tiny checkpoint, also after a kill, and says why it does not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file
from training_stage import small_recipe, until

from lib_lora_train.app import journal, runs
from lib_lora_train.events import Progress
from lib_lora_train.export.lora_file import read_metadata
from lib_lora_train.settings.recipe import dumps

ROOT = Path(__file__).parents[1]


def _command(*arguments):
    return [sys.executable, "-m", "lib_lora_train", *map(str, arguments)]


def _environment():
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}


def _train(arguments, **how):
    return subprocess.Popen(
        _command(*arguments), env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how
    )


def _run_of(out: Path) -> Path:
    return next((out / "train-lora" / "runs").iterdir())


def _steps(out: Path) -> int:
    found = list((out / "train-lora" / "runs").glob("*/events.jsonl")) if out.exists() else []
    return max((e.step for path in found for e in journal.read(path)[0] if isinstance(e, Progress)), default=0)


@pytest.fixture
def job(tmp_path, tiny_checkpoint):
    """Arguments for `train` into a folder."""
    path = tmp_path / "recipe.toml"
    long = {"max_train_steps": 60, "save_every_n_steps": 0, "sample_every_n_steps": 0, "save_state_every_n_steps": 5}
    path.write_text(dumps(small_recipe(tmp_path, **long)), encoding="utf-8")
    return lambda out, *more: ["train", path, "--checkpoint", tiny_checkpoint, "--out", tmp_path / out, *more]


@pytest.mark.slow
def test_killed_and_resumed_equals_one_go(job, tmp_path):
    whole = subprocess.run(_command(*job("whole", "--json")), env=_environment(), capture_output=True, text=True)
    assert whole.returncode == 0, whole.stderr
    report = json.loads(whole.stdout.splitlines()[-1])
    assert report["steps"] == 60 and report["state"] == "done" and Path(report["thumbnail"]).is_file()
    assert report["seconds"] >= report["seconds_to_first_step"] > 0 and Path(report["card"]).is_file()
    assert "60/60" in whole.stderr, "the bar"

    killed = _train(job("killed"))
    until(lambda: _steps(tmp_path / "killed") >= 12)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    run = _run_of(tmp_path / "killed")
    assert _steps(tmp_path / "killed") < 60 and runs.state_of(journal.read(run / "events.jsonl")[0]) == "interrupted"
    resumed = subprocess.run(_command("resume", run, "--json"), env=_environment(), capture_output=True, text=True)
    assert resumed.returncode == 0, resumed.stderr
    again = json.loads(resumed.stdout.splitlines()[-1])
    assert again["steps"] == 60
    alone, other = load_file(report["lora"]), load_file(again["lora"])
    assert alone.keys() == other.keys() and all(alone[name].equal(other[name]) for name in alone)
    hashes = [read_metadata(Path(r["lora"]))["sshs_model_hash"] for r in (report, again)]
    assert hashes[0] == hashes[1]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_ctrl_c_stops_and_keeps_twice_aborts_and_both_can_go_on(job, tmp_path):
    process = _train(job("stopped", "--json", "--set", "max_train_steps=5000"))
    until(lambda: _steps(tmp_path / "stopped") >= 3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 3, err
    report = json.loads(out.splitlines()[-1])
    assert report["state"] == "stopped" and Path(report["lora"]).is_file() and "keeping" in err

    process = _train(job("aborted", "--set", "max_train_steps=5000"))
    until(lambda: _steps(tmp_path / "aborted") >= 8)
    os.kill(process.pid, signal.SIGSTOP)  # so that both arrive before it can finish
    process.send_signal(signal.SIGINT)
    os.kill(process.pid, signal.SIGCONT)
    time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode in (130, 3)
    for out in ("stopped", "aborted"):
        (folder,) = (tmp_path / out / "train-lora" / "runs").iterdir()
        assert runs.has_state(runs.find(tmp_path / out / "train-lora", folder.name))


def test_refusals_name_the_thing_and_have_their_own_code(tmp_path, tiny_checkpoint, capsys):
    from lib_lora_train.app.cli import main

    path = tmp_path / "recipe.toml"
    path.write_text(dumps(small_recipe(tmp_path)), encoding="utf-8")
    ok = ["train", str(path), "--checkpoint", str(tiny_checkpoint), "--out", str(tmp_path / "out")]
    for arguments, word in (
        (["train", str(tmp_path / "no.toml"), *ok[2:]], "no.toml"),
        (["train", str(path), "--checkpoint", str(tmp_path / "no.safetensors")], "no.safetensors"),
        ([*ok, "--set", "network_dmi=3"], "network_dim"),
        ([*ok, "--set", "network_dim"], "network_dim"),
        ([*ok, "--set", "network_dim=many"], "many"),
        ([*ok, "--set", f"train_data_dir={tmp_path / 'nowhere'}"], "nowhere"),
        (["resume", str(tmp_path / "no-run")], "no-run"),
        (["inspect", str(tmp_path / "no.safetensors")], "no.safetensors"),
    ):
        assert main(arguments) == 2, arguments
        assert word in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_set_and_json_and_inspect_in_one_process(tmp_path, tiny_checkpoint, capsys):
    from lib_lora_train.app.cli import main

    path = tmp_path / "recipe.toml"
    path.write_text(dumps(small_recipe(tmp_path)), encoding="utf-8")
    ok = ["train", str(path), "--checkpoint", str(tiny_checkpoint), "--out", str(tmp_path / "out")]
    assert main([*ok, "--set", "max_train_steps=2", "--set", "output_name=dog", "--json"]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["steps"] == 2 and Path(report["lora"]).name == "dog.safetensors"
    assert main([*ok, "--set", "output_name=dog"]) == 2
    assert "already" in capsys.readouterr().err
    assert main([*ok, "--set", "output_name=dog", "--set", "max_train_steps=1", "--overwrite"]) == 0
    assert capsys.readouterr().out.strip() == report["lora"]
    assert main(["inspect", report["lora"]]) == 0
    assert "dog.safetensors" in capsys.readouterr().out
    assert main(["inspect", report["lora"], "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["ranks"]) == {"2"}


def test_a_failed_run_has_its_own_code_and_names_the_reason(tmp_path, tiny_checkpoint, capsys):
    from lib_lora_train.app.cli import main

    path = tmp_path / "recipe.toml"
    path.write_text(dumps(small_recipe(tmp_path)), encoding="utf-8")
    for picture in (tmp_path / "set").rglob("*.png"):
        picture.write_bytes(b"broken")
    code = main(["train", str(path), "--checkpoint", str(tiny_checkpoint), "--out", str(tmp_path / "out"), "--json"])
    captured = capsys.readouterr()
    assert code == 1 and json.loads(captured.out.splitlines()[-1])["error"]
    assert "failed:" in captured.err
