"""Files dropped on the page: only pictures and captions, only below the set's own folder, no bombs."""

from __future__ import annotations

import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_lora_train.app import uploads
from lib_lora_train.app.refusals import NotFound
from lib_lora_train.errors import DataError


def _received(tmp_path, content: bytes):
    path = tmp_path / "body"
    path.write_bytes(content)
    return path


def _zip(members: dict[str, bytes], **how) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", **how) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return out.getvalue()


def test_one_set_takes_several_files(tmp_path):
    first, folder = uploads.folder_of(tmp_path, "")
    assert uploads.keep(_received(tmp_path, b"P"), folder, "4_cat/a.png") == ["4_cat/a.png"]
    again, same = uploads.folder_of(tmp_path, first)
    assert (again, same) == (first, folder)
    uploads.keep(_received(tmp_path, b"cat"), same, "4_cat\\a.txt")
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.*")) == ["4_cat/a.png", "4_cat/a.txt"]
    assert (folder / "4_cat" / "a.png").read_bytes() == b"P"


@pytest.mark.parametrize("set_id", ["..", "../runs", "20250101-000000-zzzzzzzz", "20250101-000000-00000000", "/etc"])
def test_only_sets_that_were_given_out(tmp_path, set_id):
    with pytest.raises(NotFound):
        uploads.folder_of(tmp_path, set_id)


@pytest.mark.parametrize(
    "name",
    [
        "../a.png",
        "/a.png",
        "//tmp/a.png",
        "C:\\a.png",
        "a/b/c/d.png",
        "con.png",
        "a\0.png",
        "..\\a.png",
        "",
        "x" * 300 + ".png",
    ],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path, name):
    _, folder = uploads.folder_of(tmp_path, "")
    with pytest.raises(DataError):
        uploads.keep(_received(tmp_path, b"P"), folder, name)
    assert list(folder.iterdir()) == []


@given(name=st.text(max_size=60))
def test_whatever_the_name_it_stays_inside(tmp_path_factory, name):
    folder = tmp_path_factory.getbasetemp() / "set"
    try:
        parts = uploads.safe_parts(name)
    except DataError:
        return
    place = folder.joinpath(*parts)
    assert folder in place.parents and ".." not in place.parts


@pytest.mark.parametrize("name", ["a.exe", "a.svg", "a.html", "a", "a.png.py", "a.safetensors"])
def test_other_kinds_are_refused(tmp_path, name):
    _, folder = uploads.folder_of(tmp_path, "")
    with pytest.raises(DataError, match="neither"):
        uploads.keep(_received(tmp_path, b"x"), folder, name)


def test_an_archive_gives_its_pictures_without_the_folder_around_them(tmp_path):
    _, folder = uploads.folder_of(tmp_path, "")
    packed = _zip(
        {"my set/4_cat/a.png": b"P", "my set/4_cat/a.txt": b"cat", "my set/read.me": b"no", "my set/b.JPG": b"J"}
    )
    assert sorted(uploads.keep(_received(tmp_path, packed), folder, "set.zip")) == [
        "4_cat/a.png",
        "4_cat/a.txt",
        "b.JPG",
    ]
    assert (folder / "4_cat/a.txt").read_bytes() == b"cat"
    kept = uploads.keep(_received(tmp_path, _zip({"4_dog/a.png": b"P"})), folder, "set.zip")
    assert kept == ["4_dog/a.png"], "a concept folder keeps its repeats"


@pytest.mark.parametrize("member", ["../../evil.png", "/evil.png", "..\\evil.png", "a/../../evil.png"])
def test_an_archive_cannot_reach_outside(tmp_path, member):
    _, folder = uploads.folder_of(tmp_path, "")
    with pytest.raises(DataError):
        uploads.keep(_received(tmp_path, _zip({"good.png": b"P", member: b"E"})), folder, "set.zip")
    assert not list(tmp_path.rglob("evil*"))


def test_bombs_and_damaged_archives_are_refused(tmp_path):
    _, folder = uploads.folder_of(tmp_path, "")
    bomb = _zip({"a.png": bytes(300 * 2**20)}, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(DataError, match="unpacks to"):
        uploads.keep(_received(tmp_path, bomb), folder, "bomb.zip")
    whole = _zip({"a.png": b"P" * 5000})
    for damaged in (b"", b"PK", whole[:200], whole[:40] + b"X" + whole[41:]):
        with pytest.raises(DataError, match="unpacked"):
            uploads.keep(_received(tmp_path, damaged), folder, "set.zip")
    assert list(folder.rglob("*.png")) == []
