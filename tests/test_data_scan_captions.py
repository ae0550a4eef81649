"""Which caption each picture of a folder gets, and what is said about odd ones."""

from __future__ import annotations

import golden_data
import pytest
from scan_stage import look, picture

from lib_lora_train.settings.schema import CaptionSettings

FACTS = golden_data.facts("03_folders_and_files")


def differences(case):
    """What we do better than the reference, on purpose (docs/differences.md): picture to caption."""
    files, better = case["files"], {}
    wanted = "." + case["options"]["caption_extension"].lstrip(".")
    for name in (name for name, content in files.items() if content is None and "/" not in name):
        stem = name.rpartition(".")[0]
        text = files.get(stem + wanted)
        others = [files[stem + ending] for ending in (".txt", ".caption") if stem + ending in files]
        if text is None and others:  # caption files are found whatever the extension
            better[name] = others[0]
        elif text is None and stem.count("_") >= 4:  # not guessed from another picture's name
            better[name] = case["options"]["class_tokens"] or ""
        elif text == "":  # an empty file is an empty caption, no error
            better[name] = ""
        elif text and text.startswith("\ufeff"):  # a byte order mark is no part of it
            better[name] = text[1:]
        elif text and text.startswith("bytes:"):  # no UTF-8: as older editors wrote it
            better[name] = bytes.fromhex(text[6:]).decode("cp1252")
    return better


@pytest.mark.golden
@pytest.mark.parametrize("case", FACTS["caption_files"], ids=lambda c: c["case"])
def test_caption_files(case, tmp_path):
    folder = tmp_path / f"3_{case['options']['class_tokens'] or ''}"
    for name, text in case["files"].items():
        path = folder / name
        if text is None:
            picture(path)
        elif text.startswith("bytes:"):
            path.write_bytes(bytes.fromhex(text[6:]))
        else:
            path.write_bytes(text.encode("utf-8"))
    options = {
        name: case["options"][name] for name in ("caption_extension", "enable_wildcard") if name in case["options"]
    }
    found = look(tmp_path, CaptionSettings(**options))
    assert {r.path.name: r.caption for r in found.records} == case.get("images", {}) | differences(case)
    assert {r.repeats for r in found.records} == {3}


@pytest.mark.parametrize(
    ("mode", "train", "reg"),
    [("none", "", ""), ("phrase", "sks man", "man"), ("folder", "me", "man"), ("files", "from file", "man")],
)
def test_caption_modes(tmp_path, mode, train, reg):
    picture(tmp_path / "1_me/a.png").with_suffix(".txt").write_text("from file")
    picture(tmp_path / "reg/1_man/r.png")
    found = look(tmp_path, CaptionSettings(caption_mode=mode, caption_phrase="sks man"), "sks")
    assert [r.caption for r in found.records] == [train, reg]


def test_phrase_falls_back_to_the_trigger(tmp_path):
    picture(tmp_path / "a.png")
    assert look(tmp_path, CaptionSettings(caption_mode="phrase"), "sks").records[0].caption == "sks"


def test_odd_captions_are_noted(tmp_path):
    contents = {
        "utf16": "a, b".encode("utf-16"),
        "empty": b"",
        "latin": "caf\u00e9".encode("latin-1"),
        "two": b"one\ntwo",
    }
    for name, data in contents.items():
        picture(tmp_path / f"{name}.png").with_suffix(".txt").write_bytes(data)
    found = look(tmp_path)
    assert {r.path.stem: r.caption for r in found.records} == {
        "utf16": "a, b",
        "empty": "",
        "latin": "caf\u00e9",
        "two": "one",
    }
    said = " ".join(found.notes)
    assert all(f"{name}.txt" in said for name in ("empty", "latin", "two")) and "utf16" not in said
