"""Old uploads go when no run needs them; nothing else ever does."""

from __future__ import annotations

import os
import time
from pathlib import Path

from app_stage import StageHost, pictures, recipe

from lib_lora_train.app import leftovers, runs, uploads

DAY = 24 * 3600


def upload(data_dir: Path, days: float) -> Path:
    """A set of one picture, last changed so long ago."""
    _, folder = uploads.folder_of(data_dir, "")
    (folder / "4_cat").mkdir()
    (folder / "4_cat" / "a.png").write_bytes(b"P")
    aged(folder, days)
    return folder


def aged(folder: Path, days: float) -> None:
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (time.time() - days * DAY,) * 2)


def test_only_old_sets_that_no_run_names_are_deleted(tmp_path):
    host = StageHost(tmp_path)
    old, new, used, touched = (upload(host.data_dir(), days) for days in (31, 29, 400, 400))
    runs.create(host.data_dir(), recipe(used / "4_cat", output_name="cat"))
    (touched / "4_cat" / "a.txt").write_text("a cat")  # a caption of today
    others = host.data_dir() / "uploads" / "my own folder"
    outside = pictures(tmp_path / "outside")
    others.mkdir()
    (host.data_dir() / "uploads" / "20200101-000000-0123abcd").symlink_to(outside, target_is_directory=True)
    for folder in (others, outside):
        aged(folder, 400)
    assert leftovers.sweep(host.data_dir()) == [old.name]
    assert not old.exists() and all(path.exists() for path in (new, used, touched, others))
    assert list(outside.rglob("*.png"))
    assert leftovers.sweep(host.data_dir()) == []


def test_a_damaged_recipe_still_keeps_its_pictures(tmp_path):
    host = StageHost(tmp_path)
    used = upload(host.data_dir(), 400)
    folder = runs.create(host.data_dir(), recipe(used, output_name="cat"))
    folder.recipe.write_bytes(folder.recipe.read_bytes() + b"\xff\xfe = [")
    assert leftovers.sweep(host.data_dir()) == [] and used.exists()


def test_half_received_files_of_a_killed_program_go_after_a_day(tmp_path):
    fresh, stale = tmp_path / "upload-a1", tmp_path / "upload-b2"
    for folder, days in ((fresh, 0.5), (stale, 2)):
        folder.mkdir()
        (folder / "body").write_bytes(b"half")
        aged(folder, days)
    assert leftovers.sweep(tmp_path) == ["upload-b2"]
    assert fresh.exists() and not stale.exists()


def test_nothing_there_is_nothing_to_do(tmp_path):
    leftovers.sweep_later(tmp_path / "nowhere").join(10)
    assert leftovers.sweep(tmp_path / "nowhere") == []
