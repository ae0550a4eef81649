"""What will happen: the page's answer before anything is trained, and the speed it remembers."""

from __future__ import annotations

import os

import pytest
from app_stage import StageHost, pictures, recipe

from lib_lora_train.app import speeds
from lib_lora_train.app.check import check
from lib_lora_train.app.datasets import DataSets
from lib_lora_train.app.refusals import NotFound
from lib_lora_train.hosts.base import HostStatus


def _texts(answer, field):
    return [a["text"] for a in answer["advice"] if a["field"] == field]


def test_length_and_pictures_are_those_of_the_run(tmp_path):
    host, folder = StageHost(tmp_path), pictures(tmp_path / "set")
    answer = check(recipe(folder, max_train_epochs=3, train_batch_size=1), host, DataSets())
    assert answer["estimate"]["steps"] == 3 * 3 * 2 == answer["estimate"]["epochs"] * answer["pictures"]["samples"]
    (folder / "2_cat" / "film.gif").write_bytes(b"GIF89a")
    left = check(recipe(folder), host, DataSets())["left_out"]
    assert [item["name"] for item in left] == ["film.gif"] and left[0]["reason"]


@pytest.mark.parametrize("lacking, said", [(1, "1 of 3 pictures has no"), (2, "2 of 3 pictures have no")])
def test_what_lacks_a_caption_is_said_once(tmp_path, lacking, said):
    folder = pictures(tmp_path / "set")
    for index in range(lacking):
        (folder / "2_cat" / f"{index}.txt").unlink()
    notes = [note for note in check(recipe(folder), StageHost(tmp_path), DataSets())["notes"] if "caption file" in note]
    assert len(notes) == 1 and notes[0].startswith(said)


def test_names_are_judged_while_typing(tmp_path):
    host, sets, folder = StageHost(tmp_path), DataSets(), pictures(tmp_path / "set")
    assert _texts(check(recipe(folder), host, sets), "output_name") == []
    (host.lora_dir() / "cat.safetensors").write_bytes(b"")
    assert "already" in _texts(check(recipe(folder), host, sets), "output_name")[0]
    (host.lora_dir() / "sub").mkdir()
    (host.lora_dir() / "sub" / "dog.safetensors").write_bytes(b"")
    assert "sub/dog" in _texts(check(recipe(folder, output_name="dog"), host, sets), "output_name")[0]
    (bad,) = [a for a in check(recipe(folder, output_name="a/b"), host, sets)["advice"] if a["field"] == "output_name"]
    assert bad["level"] == "error"


def test_a_new_picture_a_new_concept_and_a_removed_one_are_seen(tmp_path):
    host, sets, folder = StageHost(tmp_path), DataSets(), pictures(tmp_path / "set")

    def count():
        return check(recipe(folder), host, sets)["pictures"]["count"]

    assert count() == 3
    picture = (folder / "2_cat" / "0.png").read_bytes()
    (folder / "2_cat" / "new.png").write_bytes(picture)
    assert count() == 4
    (folder / "5_dog").mkdir()
    (folder / "5_dog" / "dog.png").write_bytes(picture)
    assert count() == 5
    (folder / "reg" / "1_animal").mkdir(parents=True)
    (folder / "reg" / "1_animal" / "x.png").write_bytes(picture)
    assert count() == 6
    os.remove(folder / "2_cat" / "new.png")
    assert count() == 5


def test_only_so_many_sets_are_remembered(tmp_path):
    host, sets = StageHost(tmp_path), DataSets()
    folders = [pictures(tmp_path / f"set{n}", 1) for n in range(12)]
    ids = [check(recipe(folder), host, sets)["pictures"]["set"] for folder in folders]
    known = []
    for set_id in ids:
        try:
            known.append(bool(sets.picture(set_id, 0, 64)))
        except NotFound:
            known.append(False)
    assert known == [False] * 4 + [True] * 8


def test_a_run_like_this_one_tells_the_time_and_a_damaged_note_does_no_harm(tmp_path):
    status, card = HostStatus(host="x", checkpoint="y"), HostStatus(host="x", checkpoint="y", memory_total_gb=8.0)
    assert speeds.recall(tmp_path, recipe("a"), status) == 0
    speeds.remember(tmp_path, recipe("a"), status, 0.5)
    speeds.remember(tmp_path, recipe("a", resolution="768"), status, 2.0)
    assert speeds.recall(tmp_path, recipe("b", output_name="other"), status) == 0.5
    assert speeds.recall(tmp_path, recipe("a", resolution="768"), status) == 2.0
    assert speeds.recall(tmp_path, recipe("a", train_batch_size=2), status) == 0
    assert speeds.recall(tmp_path, recipe("a"), card) == 0
    computer = HostStatus(host="x", checkpoint="y", memory_total_gb=8.0, card=False)  # its own memory, no card's
    assert speeds.recall(tmp_path, recipe("a"), computer) == 0.5
    (tmp_path / "speed.json").write_text("{half")
    assert speeds.recall(tmp_path, recipe("a"), status) == 0
    speeds.remember(tmp_path, recipe("a"), status, 0.25)
    assert speeds.recall(tmp_path, recipe("a"), status) == 0.25
    (tmp_path / "file").write_text("")
    speeds.remember(
        tmp_path / "file", recipe("a"), status, 1.0
    )  # no folder to write to: an estimate is not worth a run
