"""Paths as Windows writes them, wherever one comes in: form, recipe, archive, metadata, web UI. Judged by ntpath and
PureWindowsPath, which are Windows' rules on every system."""

from __future__ import annotations

import json
import ntpath
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_lora_train.app import trust, uploads
from lib_lora_train.errors import DataError, SettingsError
from lib_lora_train.export import metadata, names
from lib_lora_train.hosts.guard import is_remote, within
from lib_lora_train.settings import imports, recipe
from lib_lora_train.settings.load import from_mapping

# What Windows reads something into: drives, streams, devices, both slashes, dropped endings, look-alikes.
ODD = st.lists(
    st.sampled_from(
        [
            "con",
            "NUL",
            "aux.txt",
            "COM1",
            "lpt¹",
            "C:",
            "\\",
            "/",
            "..",
            ".",
            " ",
            ":",
            "a",
            "B",
            "猫",
            "é",
            "✓",
            "~1",
            "$",
        ]
    ),
    max_size=8,
).map("".join)


@given(ODD | st.text(max_size=30))
def test_a_name_that_is_taken_is_one_plain_name_on_windows(text):
    try:
        name = names.check_name(text)
    except SettingsError as error:
        assert error.field == "output_name" and error.remedy
        return
    path = PureWindowsPath(f"{name}.safetensors")
    assert path.name == f"{name}.safetensors" and not path.drive and not path.is_absolute()
    assert not path.is_reserved() and not name.endswith((" ", "."))


@given(ODD | st.text(max_size=30))
def test_a_sub_folder_that_is_taken_stays_below_the_lora_folder_on_windows(text):
    try:
        folder = names.check_folder(text)
    except SettingsError:
        return
    base = PureWindowsPath("C:/sd/models/Lora")
    joined = PureWindowsPath(ntpath.normpath(base.joinpath(*folder.parts)))
    assert joined.is_relative_to(base) and not PureWindowsPath(*folder.parts).is_reserved()
    assert all(not part.endswith((" ", ".")) for part in folder.parts)


@given(ODD.map(lambda text: text + ".png") | st.text(max_size=30))
def test_a_name_in_an_archive_stays_below_the_set_on_windows(text):
    try:
        parts = uploads.safe_parts(text)
    except DataError:
        return
    base = PureWindowsPath("C:/sd/train-lora/uploads/set")
    joined = PureWindowsPath(ntpath.normpath(base.joinpath(*parts)))
    assert joined.is_relative_to(base) and joined != base and len(joined.parts) == len(base.parts) + len(parts)
    assert not any(PureWindowsPath(part).is_reserved() for part in parts)


@pytest.mark.parametrize(
    "name",
    ["C:a.png", "C:\\a.png", "\\\\nas\\share\\a.png", "//nas/share/a.png", "//tmp/a.png", "\\\\tmp\\a.png", "///a.png",
     "\\\\.\\pipe\\x.png", "a.png:stream.png",
     "..\\..\\a.png", "sub\\..\\..\\a.png", "NUL.png", "sub/con.png", "com¹.png"],
)  # fmt: skip
def test_names_in_archives_that_windows_reads_otherwise(name):
    with pytest.raises(DataError):
        uploads.safe_parts(name)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("C:\\Users\\me\\my pics", "C:\\Users\\me\\my pics"),
        ('"D:\\sets\\4_cat"', "D:\\sets\\4_cat"),  # "Copy as path"
        ("C:/sets/../other/猫 ✓", "C:\\other\\猫 ✓"),
        ("  \\\\nas\\share\\set  ", "\\\\nas\\share\\set"),
        ("\\\\?\\C:\\" + "deep\\" * 60 + "set", "\\\\?\\C:\\" + "deep\\" * 60 + "set"),
        ("c:\\sets\\", "c:\\sets"),
    ],
)
def test_typed_folders(typed, meant, monkeypatch):
    monkeypatch.setattr(trust, "os", SimpleNamespace(path=ntpath))
    monkeypatch.setattr(trust, "Path", PureWindowsPath)
    assert str(trust.typed_folder(typed)) == meant


@pytest.mark.parametrize(
    "path", ["\\\\evil\\share\\x", "//evil/share/x", "\\\\?\\UNC\\evil\\x", "\\\\.\\pipe\\x", "/\\evil/x"]
)
def test_another_computer_is_not_asked_whether_a_path_is_inside(path, monkeypatch, tmp_path):
    """Resolving it would log in there with the user's name; the answer is known before."""
    monkeypatch.setattr(Path, "resolve", lambda self: pytest.fail("asked"))
    assert is_remote(PureWindowsPath(path))
    assert not within(PureWindowsPath(path), tmp_path)


def test_drives_of_this_computer_are_not_remote(tmp_path):
    assert not any(is_remote(PureWindowsPath(p)) for p in ("C:\\x", "C:x", "x\\y", "\\x"))
    assert not is_remote(PurePosixPath("/home/x")) and within(tmp_path / "x", tmp_path)


@pytest.mark.parametrize("folder", ["C:\\Users\\me\\sets\\4_cat", "\\\\nas\\me\\4_cat", "/home/me/4_cat", "D:4_cat"])
def test_a_finished_file_tells_no_more_than_the_last_name(folder):
    settings = from_mapping({"train_data_dir": folder, "network_weights": folder + "\\old.safetensors"})
    told = json.dumps(metadata._recipe(settings))
    assert "4_cat" in told and "me" not in json.loads(told)[metadata.FOLDERS_KEY].replace("4_cat", "")


@pytest.mark.parametrize("folder", ["C:\\new\\table\\x", "\\\\nas\\share\\neu", "D:\\猫\\4_cat ✓"])
def test_recipes_keep_backslashes(folder):
    settings = from_mapping({"train_data_dir": folder})
    assert recipe.loads(recipe.dumps(settings)).data.train_data_dir == folder


@pytest.mark.parametrize(
    ("text", "folder"),
    [
        (
            'accelerate launch train_network.py ^\n  --train_data_dir="C:\\Users\\me\\pics" --network_dim=8',
            "C:\\Users\\me\\pics",
        ),
        ("python train_network.py `\n  --train_data_dir '\\\\nas\\share\\set' --network_dim=8", "\\\\nas\\share\\set"),
        ("train_data_dir = 'C:\\new\\table'\nnetwork_dim = 8\n", "C:\\new\\table"),
    ],
)
def test_other_programs_recipes_keep_their_drives(text, folder):
    found = imports.read("train.bat" if "python" in text or "accelerate" in text else "config.toml", text, folders=True)
    assert found.settings["train_data_dir"] == folder and found.settings["network_dim"] == 8


def test_names_that_differ_by_case_only_do_not_overwrite_each_other(tmp_path):
    import zipfile

    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("4_cat/A.png", b"one")
        packed.writestr("4_cat/a.PNG", b"two")
    (tmp_path / "set").mkdir()
    with pytest.raises(DataError, match=r"A\.png and a\.PNG"):
        uploads.keep(archive, tmp_path / "set", "set.zip")
    assert not list((tmp_path / "set").iterdir()), "nothing half unpacked"


def test_the_longest_names_leave_room_below_the_limit_of_windows():
    """260 characters with the drive and the final zero, in a web UI of an ordinary place."""
    root = PureWindowsPath("C:/Users/somebody-with-a-name/stable-diffusion-webui")
    run = "20260101-120000-" + "n" * 60 + "-12"
    inside = f".{'n' * 48}.1234567.tmp"
    runs = root / "train-lora/runs" / run
    lora = root / "models/Lora" / ("n" * names.LONGEST_NAME + names.SUFFIX)
    for path in (runs / "snapshots" / inside, runs / "snapshots" / "n-step00000000.safetensors", lora):
        assert len(str(path)) < 260, path
