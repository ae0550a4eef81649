"""Folders that are not there, are empty, lie beside the right one, or hold what cannot be trained on."""

from __future__ import annotations

import shutil

import pytest
from bad_input_stage import noise, pictures, texts


def test_a_folder_that_is_not_there_is_named_with_its_nearest_parent(program):
    for route in ("check", "start"):
        body = program.refused(route, train_data_dir=str(program.good / "sub" / "cats"))
        assert f"'{program.good / 'sub' / 'cats'}' does not exist" in body["error"]
        assert str(program.good) in body["remedy"] and "'sub' in it does not" in body["remedy"]
        assert body["field"] == "train_data_dir"


@pytest.mark.parametrize("route", ["check", "start"])
def test_no_folder_a_file_and_an_empty_folder(program, route):
    assert program.refused(route, train_data_dir=" ")["field"] == "train_data_dir"
    picture = program.good / "1_cat" / "0.png"
    body = program.refused(route, train_data_dir=str(picture))
    assert f"'{picture}' is a file" in body["error"] and str(picture.parent) in body["remedy"]
    empty = program.root / "empty"
    empty.mkdir()
    body = program.refused(route, train_data_dir=str(empty))
    assert f"'{empty}' holds no pictures, it is empty" in body["error"] and "png, jpg" in body["remedy"]
    (empty / "notes.docx").touch()
    assert ".docx" in program.refused(route, train_data_dir=str(empty))["error"]


def test_an_empty_concept_folder_is_named(program):
    (program.root / "set" / "3_cat").mkdir(parents=True)
    folder = str(program.root / "set")
    assert "3_cat" in program.refused("check", train_data_dir=folder)["error"]
    failed = program.failed(train_data_dir=folder)
    assert "3_cat" in failed["text"] and "Add pictures" in failed["remedy"]


def test_the_concept_folder_itself_its_parent_and_its_parents_parent_all_train_the_same(program):
    shutil.move(program.good / "1_cat", program.root / "sets" / "cats" / "3_cat")
    program.good.rmdir()
    told = {}
    for name in ("sets", "sets/cats", "sets/cats/3_cat"):
        folder = str(program.root / name)
        found = program.post("check", settings=program.settings(train_data_dir=folder)).json()
        assert found["pictures"]["samples"] == 6 and found["pictures"]["count"] == 2
        events = program.trained(train_data_dir=folder, output_name=name.replace("/", "-"))
        told[name] = texts(events)
        assert all(note in told[name] for note in found["notes"] if "concept folder" in note)
    assert "those in 'cats' are used" in told["sets"] and told["sets/cats"] == ""
    assert "'3_cat' is a concept folder itself" in told["sets/cats/3_cat"]
    program.good = program.root / "sets" / "cats"


def test_two_data_sets_below_are_not_guessed_between(program):
    for name in ("one", "two"):
        pictures(program.root / "sets" / name / "1_cat")
    body = program.refused(train_data_dir=str(program.root / "sets"))
    assert "'one', 'two'" in body["error"] and "Choose one" in body["remedy"]


def test_pictures_one_level_too_deep_are_found_and_the_way_out_is_said(program):
    pictures(program.root / "photos" / "holiday")
    body = program.refused(train_data_dir=str(program.root / "photos"))
    assert "'holiday'" in body["error"] and "10_holiday" in body["remedy"]


def test_the_regularisation_folder_is_judged_as_well(program):
    body = program.refused(reg_data_dir=str(program.root / "nowhere"))
    assert "regularisation folder" in body["error"] and "nowhere" in body["error"]
    assert body["field"] == "reg_data_dir"
    assert "both" in program.refused(reg_data_dir=str(program.good))["error"]


def test_a_folder_that_vanishes_between_check_and_train(program):
    folder = pictures(program.root / "soon gone" / "1_cat").parent
    assert program.post("check", settings=program.settings(train_data_dir=str(folder))).status_code == 200
    shutil.rmtree(folder)
    assert "soon gone" in program.refused(train_data_dir=str(folder))["error"]


def test_a_year_taken_for_repeats_is_said_before_an_epoch_of_millions(program):
    folder = pictures(program.root / "set" / "2000000_cat", 3).parent
    body = program.refused("check", train_data_dir=str(folder))
    assert "2000000_cat" in body["error"] and "Rename" in body["remedy"]
    assert "2000000_cat" in program.failed(train_data_dir=str(folder))["text"]


def test_names_with_spaces_quotes_and_letters_of_all_kinds_are_folders_like_others(program):
    folder = pictures(program.root / "Köttbullar \u732b 'n' \U0001f431" / "1_Katze \U0001f431").parent
    noise().save(folder / "1_Katze \U0001f431" / "\u00e4 #1 100%.png")
    told = program.trained(train_data_dir=f'"{folder}"')
    assert [e["step"] for e in told if e["event"] == "Progress"] == [1, 2]
