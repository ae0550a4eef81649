"""Runs whose record, state, recipe or origin is damaged: going on costs only what is damaged, or says what is lost."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from bad_input_stage import texts
from safetensors.torch import load_file

from lib_lora_train.app import runs
from lib_lora_train.app.cli import main


@pytest.fixture
def stopped(program):
    run = program.start(max_train_steps=5000, save_state_every_n_steps=2)
    program.until(lambda: any(e["event"] == "Progress" and e["step"] > 5 for e in program.events(run)))
    program.post("stop")
    assert program.end(run)[-1]["reason"] == "stopped"
    return runs.find(program.host.data_dir(), run)


def _goes_on(program, run: str) -> list[dict]:
    before = len(program.events(run))
    assert program.post("continue", run=run).status_code == 200
    program.until(lambda: any(e["event"] == "Progress" for e in program.events(run)[before:]))
    program.post("stop")
    told = program.end(run)
    assert told[-1]["event"] == "Finished", told[-1]
    return told


def test_a_damaged_record_costs_only_what_is_damaged(program, stopped):
    lines = stopped.events.read_bytes().splitlines(keepends=True)
    damage = [b"\xff\xfe{half", b"[" * 5000 + b"\n"]
    stopped.events.write_bytes(b"".join([*lines[:3], *damage, *lines[3:-1], lines[-1][:20]]))
    (entry,) = program.get("runs")["runs"]
    assert entry["can_resume"] and "cannot be read and are left out" in "".join(entry["notes"])
    told = _goes_on(program, stopped.root.name)
    assert told[-1]["step"] > 5
    assert json.loads(stopped.events.read_bytes().splitlines()[-1])["event"] == "Finished"
    stopped.events.unlink()
    assert program.get("runs")["runs"][0]["can_resume"]
    _goes_on(program, stopped.root.name)


def test_a_damaged_state_is_the_one_before_and_none_says_so(program, stopped):
    newest, before = sorted(stopped.state.iterdir(), reverse=True)
    newest.write_bytes(newest.read_bytes()[:-7])
    told = _goes_on(program, stopped.root.name)
    assert newest.name in texts(told) and "damaged" in texts(told) and "the one before is used" in texts(told)
    for path in stopped.state.iterdir():
        path.write_bytes(bytes(b ^ 1 for b in path.read_bytes()))
    assert program.post("continue", run=stopped.root.name).status_code == 200
    failed = program.failure(program.end(stopped.root.name))
    assert "saved state is damaged" in failed["text"] and str(stopped.state) in failed["text"]
    assert "Start the run anew" in failed["remedy"]
    for path in stopped.state.iterdir():
        path.unlink()
    answer = program.post("continue", run=stopped.root.name)
    assert answer.status_code == 409 and "nothing of it" in answer.json()["error"] and answer.json()["remedy"]
    assert load_file(program.loras / "cat.safetensors"), "what was published before is still there"


def test_what_a_kill_left_half_written_goes_when_the_run_goes_on(program, stopped):
    left = [stopped.state / ".state-00000009.safetensors.77.tmp", stopped.snapshots / ".cat.safetensors.77.tmp"]
    for path in left:
        path.write_bytes(b"half")
    os.utime(left[0], (1, 1))
    _goes_on(program, stopped.root.name)
    assert not left[0].exists() and left[1].exists(), "the younger one may be somebody's who writes it now"
    left[1].unlink()


def test_a_damaged_recipe_of_a_run_is_named_and_the_list_still_shows_it(program, stopped):
    whole = stopped.recipe.read_bytes()
    stopped.recipe.write_bytes(b"\xff" + whole)
    (entry,) = program.get("runs")["runs"]
    assert entry["settings"] is None and not entry["can_resume"] and "recipe.toml" in "".join(entry["notes"])
    answer = program.post("continue", run=stopped.root.name)
    assert answer.status_code == 400 and "recipe.toml" in answer.json()["error"] and answer.json()["remedy"]
    stopped.recipe.write_bytes(whole.replace(b"max_train_steps = 5000", b"max_train_steps = 5001"))
    assert program.post("continue", run=stopped.root.name).status_code == 200
    failed = program.failure(program.end(stopped.root.name))
    assert "max_train_steps (was 5000, is 5001)" in failed["text"] and "Set it back" in failed["remedy"]
    stopped.recipe.write_bytes(whole)
    _goes_on(program, stopped.root.name)


def test_resume_without_origin_or_with_no_run_at_all(program, stopped, capsys, tiny_checkpoint):
    (stopped.root / "origin.json").write_bytes(b"\xff{")
    assert main(["resume", str(stopped.root)]) == 2
    said = capsys.readouterr().err
    assert "--checkpoint" in said and stopped.root.name in said
    for nowhere in ("/", "/nowhere", str(program.root)):
        assert main(["resume", nowhere]) == 2
        assert "There is no run" in capsys.readouterr().err
    gone = program.root / "moved away.safetensors"
    assert main(["resume", str(stopped.root), "--checkpoint", str(gone)]) == 2
    assert "moved away.safetensors" in capsys.readouterr().err
    other = program.root / "other.safetensors"
    shutil.copy(tiny_checkpoint, other)
    shutil.copy(tiny_checkpoint.with_suffix(".yaml"), other.with_suffix(".yaml"))
    assert main(["resume", str(stopped.root), "--checkpoint", str(other)]) == 1
    assert f"begun on {tiny_checkpoint.name}; now other.safetensors is loaded" in capsys.readouterr().err
