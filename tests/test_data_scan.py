"""Folders as people have them: what is trained on, what is left out, and what is said about it."""

from __future__ import annotations

import io
import os
from pathlib import Path

import golden_data
import numpy as np
import pytest
from PIL import Image
from scan_stage import look, names, picture, reasons

from lib_lora_train.data import layout
from lib_lora_train.errors import DataError, SettingsError

FACTS = golden_data.facts("03_folders_and_files")


@pytest.mark.golden
@pytest.mark.parametrize("case", FACTS["folder_names"]["names"], ids=lambda c: c["folder"])
def test_folder_names(case):
    parsed = layout.parse_name(case["folder"])
    assert parsed == ((case["num_repeats"], case["caption_from_folder"]) if case["used"] else None)


@pytest.mark.golden
def test_image_extensions(tmp_path):
    for extension in FACTS["image_extensions"]:
        picture(tmp_path / f"{extension[1:]}{extension}")
    assert len(look(tmp_path).records) == len(FACTS["image_extensions"])


def test_concept_folders_and_what_lies_beside_them(tmp_path):
    for name in ("3_a/x.png", "3_a/5_nested/y.png", "2_b/x.png", "notes/z.png", "1_c_d/x.jpg", "loose.png"):
        picture(tmp_path / name)
    picture(tmp_path / "reg/1_person/r.png")
    (tmp_path / "4_file.txt").write_text("no folder")
    found = look(tmp_path)
    assert [(r.path.parent.name, r.repeats, r.concept, r.is_reg) for r in found.records] == [
        ("1_c_d", 1, "c_d", False), ("2_b", 2, "b", False), ("3_a", 3, "a", False), ("1_person", 1, "person", True),
    ]  # fmt: skip
    assert "beside" in reasons(found)["loose.png"]
    said = " ".join(found.notes)
    assert "'notes'" in said and "'5_nested'" in said


def test_a_flat_folder_takes_its_repeats_from_the_settings(tmp_path):
    picture(tmp_path / "cats/a.png")
    picture(tmp_path / "cats/b.png").with_suffix(".txt").write_text("b, cat")
    found = look(tmp_path / "cats", trigger="sks", dataset_repeats=7)
    assert [(r.caption, r.repeats, r.concept) for r in found.records] == [("sks", 7, ""), ("b, cat", 7, "")]
    assert [r.caption for r in look(tmp_path / "cats").records] == ["cats", "b, cat"]


def test_pointing_at_a_concept_folder_uses_its_repeats_and_says_so(tmp_path):
    picture(tmp_path / "4_name/a.png")
    picture(tmp_path / "reg/1_person/r.png")
    found = look(tmp_path / "4_name")
    assert [(r.repeats, r.concept, r.is_reg) for r in found.records] == [(4, "name", False)]
    assert any("4_name" in note and "4 times" in note for note in found.notes)
    assert any("reg" in note for note in found.notes)


def test_pointing_one_folder_too_high_finds_the_only_data_set(tmp_path):
    picture(tmp_path / "img/4_name/a.png")
    picture(tmp_path / "reg/1_person/r.png")
    (tmp_path / "log").mkdir()
    found = look(tmp_path)
    assert [(r.concept, r.is_reg) for r in found.records] == [("name", False), ("person", True)]
    assert any("'img'" in note for note in found.notes)


@pytest.mark.parametrize(
    ("files", "where", "message", "remedy"),
    [
        (["one/1_a/a.png", "two/1_b/b.png"], "", "'one', 'two'", "one of them"),
        (["cats/a.png", "dogs/a.png"], "", "'cats', 'dogs'", "10_cats"),
        (["cats/a.png"], "cats/nowhere/deeper", "nowhere", "'nowhere'"),
        (["cats/a.png"], "cats/a.png", "is a file", "cats"),
        (["cats/a.txt"], "cats", "only .txt", "png"),
        (["a/b/c/d.png"], "", "holds no pictures", "png"),
        (["a/b.txt"], "a", "holds no pictures", "png"),
        (["a/b.gif"], "a", "only .gif", "png"),
        (["1_a/b.txt"], "", "no picture that can be trained on", "Add"),
    ],
)
def test_wrong_folders_name_the_thing_and_the_remedy(tmp_path, files, where, message, remedy):
    for name in files:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(path) if path.suffix == ".png" else path.write_bytes(b"x")
    with pytest.raises(DataError) as caught:
        look(tmp_path / where)
    assert message in caught.value.message and remedy in caught.value.remedy


def test_a_missing_folder_names_the_nearest_parent(tmp_path):
    with pytest.raises(DataError) as caught:
        look(tmp_path / "gone" / "4_name")
    assert f"'{tmp_path}'" in caught.value.remedy and "'gone'" in caught.value.remedy


@pytest.mark.parametrize("text", ["", "  ", '""'])
def test_no_folder_chosen(text):
    with pytest.raises(DataError, match="chosen"):
        look(text)


@pytest.mark.parametrize("text", ['"{}"', "  {} ", "'{}'", "{}/", "{}/../cats"])
def test_paths_as_people_paste_them(tmp_path, text):
    picture(tmp_path / "cats/a.png")
    assert len(look(text.format(tmp_path / "cats")).records) == 1


@pytest.mark.parametrize("text", ["x" * 5000, "a\0b", "/proc/1/root/nowhere", "Z:\\pictures", "~nobody-at-all/x"])
def test_impossible_paths_are_refused_not_crashed_on(text):
    with pytest.raises(DataError):
        look(text)


def test_explicit_regularisation_folder(tmp_path):
    picture(tmp_path / "train/2_a/a.png")
    picture(tmp_path / "other/r.png").with_suffix(".txt").write_text("person")
    picture(tmp_path / "other/s.png")
    found = look(tmp_path / "train", trigger="sks", reg_data_dir=str(tmp_path / "other"))
    assert [(r.caption, r.repeats, r.is_reg) for r in found.records] == [
        ("a", 2, False),
        ("person", 1, True),
        ("", 1, True),
    ]
    for wrong, message in ((tmp_path / "train", "both"), (tmp_path / "none", "does not exist")):
        with pytest.raises(DataError, match=message):
            look(tmp_path / "train", reg_data_dir=str(wrong))


def test_an_empty_reg_folder_is_only_a_note(tmp_path):
    picture(tmp_path / "2_a/a.png")
    (tmp_path / "reg").mkdir()
    found = look(tmp_path)
    assert len(found.records) == 1 and any("regularisation" in note for note in found.notes)


def test_regularisation_alone_is_nothing_to_train_on(tmp_path):
    picture(tmp_path / "reg/1_person/a.png")
    with pytest.raises(DataError):
        look(tmp_path)


def bytes_of(image, format, **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def test_bad_pictures_are_left_out_with_reasons_and_the_rest_goes_on(tmp_path):
    good = Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8))
    whole = {f: bytes_of(good, f) for f in ("PNG", "JPEG", "WEBP", "BMP")}
    frames = [Image.new("RGB", (8, 8), c) for c in ("red", "blue")]
    bad = {
        "zero.png": (b"", "0 bytes"),
        "cut.png": (whole["PNG"][:-700], "cannot be"),
        "cut.jpg": (whole["JPEG"][:-700], "cannot be"),
        "cut.webp": (whole["WEBP"][:-300], "cannot be"),
        "cut.bmp": (whole["BMP"][:-300], "cannot be"),
        "page.jpg": (b"<!doctype html>", "not a png"),
        "moves.webp": (bytes_of(frames[0], "WEBP", save_all=True, append_images=frames[1:]), "animated"),
        "moves.png": (bytes_of(frames[0], "PNG", save_all=True, append_images=frames[1:]), "animated"),
        "moves.gif": (bytes_of(frames[0], "GIF", save_all=True, append_images=frames[1:]), ".gif"),
        "film.webm": (b"x", ".webm"),
        "new.avif": (b"x", ".avif"),
        "._good.png": (b"x", "hidden"),
    }
    good_ones = {
        "cmyk.jpg": bytes_of(good.convert("CMYK"), "JPEG"),
        "deep.png": bytes_of(Image.fromarray(np.full((8, 8), 40000, np.uint16)), "PNG"),
        "behind.jpg": whole["JPEG"] + b"\0" * 10_000,  # phones append films
        "phone.jpg": bytes_of(good, "MPO", save_all=True, append_images=[good]),  # several pictures, the first counts
        "behind.png": whole["PNG"] + b"\0" * 10_000,
    }
    for name, data in {**{n: d for n, (d, _) in bad.items()}, **good_ones, "thumbs.db": b"x"}.items():
        (tmp_path / name).write_bytes(data)
    found = look(tmp_path)
    assert sorted(names(found)) == sorted(good_ones)
    got = reasons(found)
    assert got.keys() == bad.keys()
    for name, (_, why) in bad.items():
        assert why in got[name], name


def test_size_is_known_after_rotation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(tmp_path / "a.jpg", (40, 24), exif=exif)
    assert look(tmp_path).records[0].size == (24, 40)


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need rights on Windows")
def test_links_that_loop_or_lead_nowhere(tmp_path):
    picture(tmp_path / "1_a/a.png")
    (tmp_path / "1_a/loop").symlink_to("loop")
    (tmp_path / "1_a/up").symlink_to(tmp_path)
    (tmp_path / "2_up").symlink_to(tmp_path)
    (tmp_path / "1_a/gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "1_a/me.png").symlink_to("me.png")
    found = look(tmp_path)
    assert names(found) == ["a.png"]
    assert all("cannot be read" in reasons(found)[name] for name in ("gone.png", "me.png"))


def test_unreadable_folders_are_left_out(tmp_path, monkeypatch):
    picture(tmp_path / "1_a/a.png")
    picture(tmp_path / "2_b/b.png")
    real = os.scandir

    def scandir(path):
        if Path(path).name == "2_b":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = look(tmp_path)
    assert names(found) == ["a.png"] and "Permission denied" in reasons(found)["2_b"]
    with pytest.raises(DataError, match="Permission denied"):
        look(tmp_path / "2_b")


def test_a_background_that_is_no_colour_is_refused_before_training(tmp_path):
    picture(tmp_path / "a.png")
    with pytest.raises(SettingsError):
        look(tmp_path, background="reddishblue")
