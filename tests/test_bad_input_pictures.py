"""Pictures and captions that are damaged, huge, odd, or change under a run; and a cache that does."""

from __future__ import annotations

import io
import os
import shutil

import numpy as np
import pytest
from bad_input_stage import noise, pictures, texts
from PIL import Image
from safetensors.torch import load_file


def _truncated(image: Image.Image, kind: str) -> bytes:
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()[: len(out.getvalue()) // 2]


def test_broken_pictures_are_named_with_their_reason_and_left_out(program):
    folder = program.good / "1_cat"
    bad = {
        "empty.png": (b"", "is empty (0 bytes)"),
        "text.jpg": (b"I am no picture", "is not a png, jpg, webp or bmp"),
        "cut.png": (_truncated(noise(256), "PNG"), "cannot be"),
        "cut.jpg": (_truncated(noise(256), "JPEG"), "cannot be"),
        "cut.webp": (_truncated(noise(256), "WEBP"), "cannot be"),
        "cut.bmp": (_truncated(noise(256), "BMP"), "cannot be"),
        "film.gif": (b"GIF89a", ".gif is not one of"),
    }
    for name, (content, _) in bad.items():
        (folder / name).write_bytes(content)
    frames = [noise(seed=n) for n in range(3)]
    for name in ("moving.png", "moving.webp"):
        frames[0].save(folder / name, save_all=True, append_images=frames[1:], duration=80)
        bad[name] = (b"", "is animated")
    found = program.post("check", settings=program.settings()).json()
    assert found["pictures"]["count"] == 2
    reasons = {item["name"]: item["reason"] for item in found["left_out"]}
    assert reasons.keys() == bad.keys()
    assert all(reason in reasons[name] for name, (_, reason) in bad.items()), reasons
    told = texts(program.trained())
    assert "9 files are left out" in told and "and 4 more" in told and "cut.bmp (cannot be" in told
    assert "9 files are left out" in program.said.text


def test_only_broken_pictures_is_nothing_to_train_on(program):
    folder = program.root / "set" / "1_cat"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(b"")
    for answer in (program.refused("check", train_data_dir=str(folder.parent))["error"],
                   program.failed(train_data_dir=str(folder.parent))["text"]):  # fmt: skip
        assert "a.png is empty (0 bytes)" in answer


def test_damage_that_only_decoding_shows_leaves_that_picture_out(program):
    whole = io.BytesIO()
    noise(256).save(whole, "PNG")
    data = bytearray(whole.getvalue())
    data[len(data) // 2 :: 97] = b"\0" * len(data[len(data) // 2 :: 97])
    data[-12:] = whole.getvalue()[-12:]  # the end mark is there
    (program.good / "1_cat" / "rotten.png").write_bytes(data)
    told = program.trained()
    assert "'rotten.png' cannot be decoded" in texts(told) and "Replace it." in texts(told)
    assert [e["step"] for e in told if e["event"] == "Progress"] == [1, 2]


def test_unusual_but_good_pictures_are_trained_on(program):
    folder = program.good / "1_cat"
    noise(80).convert("CMYK").save(folder / "cmyk.jpg")
    noise(80).convert("L").save(folder / "grey.png")
    Image.fromarray(np.arange(6400, dtype=np.uint16).reshape(80, 80) * 10).save(folder / "16 bits.png")
    noise(80).convert("P").save(folder / "palette.png")
    noise(80).convert("RGBA").save(folder / "alpha.webp")
    Image.new("RGB", (10_000, 10_000), "teal").save(folder / "poster.png", compress_level=1)
    found = program.post("check", settings=program.settings()).json()
    assert found["pictures"]["count"] == 8 and found["left_out"] == []
    told = program.trained(max_train_epochs=1)
    assert texts(told).count("left out") == 0 and told[-1]["step"] == 8
    poster = next(i["index"] for i in found["pictures"]["items"] if i["name"] == "poster.png")
    small = program.client.get(
        "/train-lora/v1/pictures", params={"set": found["pictures"]["set"], "index": poster, "size": 64}
    )
    assert Image.open(io.BytesIO(small.content)).size == (64, 64)
    (folder / "poster.png").unlink()


def test_a_picture_beyond_all_measure_is_left_out_with_its_size(program):
    bomb = Image.new("1", (20_000, 10_000))
    bomb.save(program.good / "1_cat" / "bomb.png")
    (item,) = program.post("check", settings=program.settings()).json()["left_out"]
    assert item["name"] == "bomb.png" and "megapixels" in item["reason"] and "150" in item["reason"]
    assert "bomb.png (has" in texts(program.trained())


def test_captions_in_other_encodings_are_read_and_told(program):
    folder = pictures(program.root / "set" / "1_cat", 5)
    green, cat = "Käse, grün", "猫, 緑"
    contents = [green.encode("utf-16"), green.encode("latin-1"), b"", cat.encode(), "Käse".encode("utf-8-sig")]
    for number, content in enumerate(contents):
        (folder / f"{number}.txt").write_bytes(content)
    settings = {"train_data_dir": str(folder.parent)}
    found = program.post("check", settings=program.settings(**settings)).json()
    captions = {item["name"]: item["caption"] for item in found["pictures"]["items"]}
    assert captions == {"0.png": green, "1.png": green, "2.png": "", "3.png": cat, "4.png": "Käse"}
    told = texts(program.trained(**settings))
    for notes in (told, "\n".join(found["notes"])):
        assert "1 caption files are empty" in notes and "2.txt" in notes
        assert "not UTF-8" in notes and "1.txt" in notes and "save them as UTF-8" in notes


def test_pictures_that_go_while_it_trains_do_not_matter_until_it_is_continued(program):
    folder = pictures(program.root / "set" / "1_cat", 3)
    run = program.start(train_data_dir=str(folder.parent), max_train_steps=5000, save_state_every_n_steps=2)
    program.until(lambda: any(e["event"] == "Progress" and e["step"] > 4 for e in program.events(run)))
    held = (folder / "0.png").read_bytes()
    (folder / "0.png").unlink()
    (folder / "1.txt").write_text("something else")
    at = program.events(run)[-1].get("step", 0)
    program.until(lambda: any(e["event"] == "Progress" and e["step"] > at + 5 for e in program.events(run)))
    assert program.post("stop").status_code == 200
    assert program.end(run)[-1]["reason"] == "stopped"
    assert load_file(program.loras / "cat.safetensors")

    assert program.post("continue", run=run).status_code == 200
    failed = program.failure(program.end(run))
    assert "gone: 1_cat/0.png" in failed["text"] and "changed: 1_cat/1.png" in failed["text"] and failed["can_resume"]
    shutil.rmtree(folder)
    assert program.post("continue", run=run).status_code == 200
    assert str(folder.parent) in program.failure(program.end(run))["text"]
    assert load_file(program.loras / "cat.safetensors")

    pictures(folder, 3)
    (folder / "0.png").write_bytes(held)
    assert program.post("continue", run=run).status_code == 200
    program.until(lambda: any(e["event"] == "Progress" for e in program.events(run)[-3:]))
    program.post("stop")
    assert program.end(run)[-1]["reason"] == "stopped"


def test_a_picture_that_changes_while_the_run_prepares_is_named(program, monkeypatch):
    from lib_lora_train.engine import prepare

    folder, original = pictures(program.root / "set" / "1_cat"), prepare.fits

    def meanwhile(records, data):
        noise(96, seed=9).save(folder / "1.png")
        os.utime(folder / "1.png", (1, 1))
        return original(records, data)

    with monkeypatch.context() as patched:
        patched.setattr(prepare, "fits", meanwhile)  # between reading the folder and reading the pictures
        failed = program.failed(train_data_dir=str(folder.parent))
    assert f"'{folder / '1.png'}' changed since the folder was read" in failed["text"]
    assert failed["remedy"] == "Start again."
    program.trained(train_data_dir=str(folder.parent))


@pytest.mark.parametrize("train_text_encoder", [False, True])
def test_a_damaged_cache_is_made_anew_and_said(program, train_text_encoder):
    """Every file of it cut, flipped, emptied or swapped; the result is that of a whole one."""
    settings = {"train_text_encoder": train_text_encoder, "save_precision": "float"}
    program.trained(**settings, output_name="whole")
    cache = program.host.data_dir() / "cache"
    entries = sorted(cache.rglob("*.cache"))
    assert len(entries) == (2 if train_text_encoder else 4)
    first, *others = [path.read_bytes() for path in entries]
    damaged = [first[:-50], bytes(b ^ 0xFF for b in others[0]), *others[2:], *others[1:2]]
    for path, content in zip(entries, damaged, strict=True):
        path.write_bytes(content)
    (cache / "pictures.json").write_bytes(b'{"\xff')
    told = texts(program.trained(**settings, output_name="again"))
    assert "cached latents were damaged and are made anew" in told
    assert ("cached captions were damaged" in told) is not train_text_encoder
    whole, again = (load_file(program.loras / f"{name}.safetensors") for name in ("whole", "again"))
    assert all(whole[name].equal(again[name]) for name in whole)


def test_a_cache_that_vanishes_while_it_trains_is_made_again(program):
    run = program.start(max_train_steps=5000)
    program.until(lambda: any(e["event"] == "Progress" for e in program.events(run)))
    shutil.rmtree(program.host.data_dir() / "cache")
    program.until(lambda: "were gone from the cache and are made again" in texts(program.events(run)))
    program.post("stop")
    assert program.end(run)[-1]["reason"] == "stopped"


def test_cache_and_picture_gone_ends_the_run_by_name_with_its_state_kept(program):
    folder = pictures(program.root / "set" / "1_cat")
    run = program.start(train_data_dir=str(folder.parent), max_train_steps=5000)
    program.until(lambda: any(e["event"] == "Progress" for e in program.events(run)))
    shutil.rmtree(folder)
    shutil.rmtree(program.host.data_dir() / "cache")
    failed = program.failure(program.end(run))
    assert "is no longer there" in failed["text"] and str(folder) in failed["text"] and failed["can_resume"]


def test_a_file_where_the_cache_should_be_only_costs_the_cache(program):
    cache = program.host.data_dir() / "cache"
    cache.parent.mkdir(parents=True)
    cache.write_text("not a folder")
    body = program.refused()
    assert str(cache) in body["error"] and "in the place of a folder" in body["remedy"]
    cache.unlink()
    cache.mkdir()
    (cache / "latents").write_text("not a folder")
    assert "cannot be kept on disk" in texts(program.trained())
