"""Names that no file can have, names that only look so, and a LoRA of that name that is there, open or protected."""

from __future__ import annotations

import json
import os
import stat

import pytest
from bad_input_stage import texts
from safetensors import safe_open
from safetensors.torch import load_file

from lib_lora_train.export import lora_file
from lib_lora_train.hosts.base import PictureRequest

NO_NAMES = {
    "a/b": "/", "a\\b": "\\", "..": "dot", "...": "dot", ".hidden": "hidden", "end.": "ends with a dot", "": "empty",
    "  ": "empty", "CON": "reserved", "nul.tar": "reserved", "com1": "reserved", "x" * 200: "too long (200 bytes)",
    "\U0001f431" * 30: "too long (120 bytes)", "a:b": ":", "<lora:x:1>": "<", "a\nb": "invisible",
    "tab\tbed": "invisible", "what?": "?",
}  # fmt: skip


def test_what_no_file_system_takes_is_refused_with_the_reason(program):
    for name, why in NO_NAMES.items():
        body = program.refused(output_name=name)
        assert why in body["error"] and body["field"] == "output_name", (name, body)
        (advice,) = [
            a
            for a in program.post("check", settings=program.settings(output_name=name)).json()["advice"]
            if a["field"] == "output_name"
        ]
        assert advice["level"] == "error" and why in advice["text"], "said while typing, too"
    for folder in ("../other", "/tmp/x", "C:\\Loras", "a/con/b", "x" * 200):
        assert program.refused(output_folder=folder)["field"] == "output_folder", folder
    assert not program.loras.exists()


@pytest.mark.parametrize(
    "name, kept",
    [
        ("\U0001f431 cat \u732b", "\U0001f431 cat \u732b"),
        ("a.b.c v1.0 (x) [y] {z} & 100% 'q' #1", "a.b.c v1.0 (x) [y] {z} & 100% 'q' #1"),
        (" cat.safetensors ", "cat"),
        ("x" * 100, "x" * 100),
        ("\U0001f431" * 25, "\U0001f431" * 25),
        ("u\u0308ber", "\u00fcber"),
    ],
)
def test_odd_but_good_names_become_the_file_the_prompt_and_the_recipe(program, name, kept):
    told = program.trained(output_name=name, save_every_n_steps=1, make_thumbnail=True)
    assert {e["name"] for e in told if e["event"] == "Published"} == {kept} and texts(told) == ""
    assert {p.name for p in program.loras.iterdir()} == {f"{kept}.{kind}" for kind in ("safetensors", "json", "png")}
    plain, with_it = (
        program.host.txt2img(PictureRequest(prompt=f"cat{tag}", width=64, height=64, steps=1))[0].tobytes()
        for tag in ("", f"<lora:{kept}:1>")
    )
    assert plain != with_it
    assert program.get("lora", name=kept)["settings"]["output_name"].strip() == name.strip()
    (entry,) = program.get("runs")["runs"]
    assert entry["state"] == "done" and entry["loras"][-1]["name"] == kept


def test_a_lora_of_that_name_is_asked_about_then_kept_aside(program):
    program.trained()
    before = (program.loras / "cat.safetensors").read_bytes()
    body = program.refused(code=409)
    assert "cat" in body["error"] and "confirm" in body["remedy"] and body["field"] == "output_name"
    assert (program.loras / "cat.safetensors").read_bytes() == before
    told = program.trained(confirm=True, max_train_steps=3)
    (kept,) = (program.host.data_dir() / "replaced").iterdir()
    assert kept.read_bytes() == before
    assert kept.name in texts(told, "Phase")
    assert lora_file.read_metadata(program.loras / "cat.safetensors")["ss_steps"] == "3"


def test_a_lora_that_a_reader_has_mapped_stays_whole_for_it(program):
    program.trained()
    path = program.loras / "cat.safetensors"
    old = load_file(path)
    with safe_open(path, "pt") as reader:
        names = list(reader.keys())
        first = reader.get_tensor(names[0])
        program.trained(confirm=True, seed=7)
        assert all(reader.get_tensor(name).equal(old[name]) for name in names) and first.equal(old[names[0]])
    assert not all(load_file(path)[name].equal(old[name]) for name in names)


def test_a_write_protected_lora_is_left_and_another_name_taken(program):
    program.trained()
    path = program.loras / "cat.safetensors"
    before = path.read_bytes()
    path.chmod(stat.S_IREAD)
    told = program.trained(confirm=True, seed=7)
    assert path.read_bytes() == before
    assert [e["name"] for e in told if e["event"] == "Published"] == ["cat-2"]
    assert "cat.safetensors is write-protected, so this LoRA is cat-2.safetensors" in texts(told)
    assert "Allow writing" in texts(told) and "write-protected" in program.said.text
    assert lora_file.read_metadata(program.loras / "cat-2.safetensors")["ss_output_name"] == "cat-2"
    path.chmod(stat.S_IREAD | stat.S_IWRITE)


def test_a_lora_that_appears_while_this_one_trains_is_not_replaced(program):
    run = program.start(max_train_steps=5000)
    program.until(lambda: any(e["event"] == "Progress" for e in program.events(run)))
    program.loras.mkdir()
    lora_file.save(program.loras / "cat.safetensors", load_one(), {"ss_session_id": "1"})
    program.post("stop")
    told = program.end(run)
    assert "cat.safetensors exists already, so this LoRA is cat-2.safetensors" in texts(told)
    assert lora_file.read_metadata(program.loras / "cat.safetensors")["ss_session_id"] == "1"
    assert load_file(program.loras / "cat-2.safetensors")


def load_one():
    import torch

    return {"lora_te_x.alpha": torch.ones(1)}


def test_a_damaged_file_or_a_folder_of_that_name(program):
    program.loras.mkdir()
    (program.loras / "cat.safetensors").write_bytes(b"not a LoRA")
    assert program.refused(code=409)["field"] == "output_name"
    program.trained(confirm=True)
    assert load_file(program.loras / "cat.safetensors")
    (kept,) = (program.host.data_dir() / "replaced").iterdir()
    assert kept.read_bytes() == b"not a LoRA"
    (program.loras / "dog.safetensors").mkdir()
    assert program.refused(code=409, output_name="dog")["field"] == "output_name"
    assert "is a folder, so this LoRA is dog-2" in texts(program.trained(confirm=True, output_name="dog"))
    (program.loras / "dog.safetensors").rmdir()


def test_a_users_card_and_picture_survive_and_a_damaged_card_is_kept(program):
    program.loras.mkdir()
    card = program.loras / "cat.json"
    card.write_text(json.dumps({"notes": "mine", "activation text": "mine", "stars": 5}), encoding="utf-8")
    program.trained()
    read = json.loads(card.read_text(encoding="utf-8"))
    assert (read["notes"], read["activation text"], read["stars"], read["sd version"]) == ("mine", "mine", 5, "SD1")
    card.write_bytes(b"{\xff half")
    told = texts(program.trained(confirm=True))
    assert "cat.json was damaged and is kept as cat.json.bak" in told
    assert (program.loras / "cat.json.bak").read_bytes() == b"{\xff half"
    assert json.loads(card.read_text(encoding="utf-8"))["activation text"] == "cat"


@pytest.mark.skipif(os.name == "nt", reason="there nothing can be replaced while it is open")
def test_a_file_that_the_system_will_not_replace_is_tried_and_then_gone_around(program, monkeypatch):
    """As Windows does with a file that a reader has mapped."""
    from lib_lora_train.app import publish
    from lib_lora_train.export import folder

    program.trained()
    replace, held = folder.os.replace, program.loras / "cat.safetensors"
    before = held.read_bytes()

    def refusing(source, target):
        if os.fspath(target) == os.fspath(held):
            raise PermissionError(13, "The process cannot access the file", str(target))
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(publish, "_FIRST_WAIT", 0.001)
        patched.setattr(folder.os, "replace", refusing)
        told = program.trained(confirm=True, seed=7)
    assert held.read_bytes() == before and load_file(program.loras / "cat-2.safetensors")
    assert "cat.safetensors is in use, so this LoRA is cat-2.safetensors" in texts(told)
    assert not list((program.host.data_dir() / "replaced").iterdir()), "nothing was replaced"
