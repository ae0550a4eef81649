"""Run folders: names that file systems take, unique under haste, and what became of each."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from app_stage import recipe
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lib_lora_train.app import runs
from lib_lora_train.app.journal import Journal
from lib_lora_train.app.refusals import NotFound
from lib_lora_train.events import Failed, Finished, Phase, Progress, Published, Sampled, Warned
from lib_lora_train.settings.recipe import read


def _progress(step):
    return Progress(step=step, total_steps=9, epoch=1, epochs=1, loss=1.0, loss_smooth=1.0, lr={})


@given(name=st.text(min_size=0, max_size=300))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_name_makes_a_folder_directly_below_runs(tmp_path, name):
    folder = runs.create(tmp_path, recipe("x", output_name=name.replace("\0", "")))
    assert folder.root.parent == tmp_path / "runs"
    assert len(folder.root.name.encode()) <= 255
    assert runs.find(tmp_path, folder.root.name) == folder


def test_recipe_is_kept_whole_and_folders_are_unique_in_one_second(tmp_path):
    wanted, made = recipe("some where", network_dim=7), []
    threads = [threading.Thread(target=lambda: made.append(runs.create(tmp_path, wanted))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({folder.root for folder in made}) == 8
    assert all(read(folder.recipe) == wanted for folder in made)


@pytest.mark.parametrize("run_id", ["", ".", "..", "../runs", "a/../b", "a\\b", "/etc", "nobody", "x\0y"])
def test_only_plain_names_of_runs_are_found(tmp_path, run_id):
    runs.create(tmp_path, recipe("x"))
    with pytest.raises(NotFound):
        runs.find(tmp_path, run_id)


@pytest.mark.parametrize(
    "told, became",
    [
        ([], "interrupted"),
        ([Phase(name="train"), _progress(1)], "interrupted"),
        ([_progress(1), Finished(step=1, path="x")], "done"),
        ([_progress(1), Finished(step=1, path="x"), Warned(text="w")], "done"),
        ([_progress(1), Finished(step=1, path="x", reason="stopped")], "stopped"),
        ([_progress(1), Failed(text="no")], "failed"),
        ([_progress(1), Failed(text="no"), Phase(name="train"), _progress(2)], "interrupted"),
    ],
)
def test_what_became_of_a_run(told, became):
    assert runs.state_of(told) == became


def test_the_list_is_newest_first_and_tells_pictures_and_loras_once(tmp_path):
    old, new = (runs.create(tmp_path, recipe("x", output_name=name)) for name in ("old", "new"))
    old.root.rename(tmp_path / "runs" / "20200101-000000-old")
    journal = Journal(new.events)
    for step in (2, 4, 4):
        journal.add(_progress(step))
        journal.add(Sampled(step=step, index=0, prompt="cat", seed=1, path=f"samples/{step}.png"))
        journal.add(Published(name="new", path="new.safetensors", step=step))
    journal.add(Sampled(step=5, index=0, prompt="cat", seed=1, path="../../secret.png"))
    first, second = runs.listing(tmp_path, current=new.root.name)
    assert (first["name"], first["state"], second["name"], second["state"]) == ("new", "running", "old", "interrupted")
    assert [s["path"] for s in first["samples"]] == ["samples/2.png", "samples/4.png"]
    assert first["loras"] == [{"name": "new", "step": 4, "path": "new.safetensors"}]
    assert (first["steps"], first["total_steps"], first["trigger"]) == (4, 9, "cat")
    assert first["settings"]["output_name"] == "new"
    assert runs.newest_recipe(tmp_path).naming.output_name == "new"


def test_a_damaged_recipe_does_not_hide_the_others(tmp_path):
    runs.create(tmp_path, recipe("x", output_name="good"))
    bad = runs.create(tmp_path, recipe("x", output_name="zbad"))
    bad.recipe.write_text("output_name = [", encoding="utf-8")
    (tmp_path / "runs" / "a file").write_text("")
    (tmp_path / "runs" / "empty").mkdir()
    entries = {Path(e["id"]).name: e for e in runs.listing(tmp_path)}
    assert len(entries) == 2
    assert "TOML" in entries[bad.root.name]["notes"][0] and entries[bad.root.name]["settings"] is None
    assert runs.newest_recipe(tmp_path).naming.output_name == "good"
    assert runs.listing(tmp_path / "nothing yet") == []
