"""Which pictures look alike and which are blurred, told from small sketches of them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from lib_lora_train.data.lint import lint
from lib_lora_train.data.scan import scan
from lib_lora_train.data.sketch import Sketches, alike, sketch
from lib_lora_train.settings.schema import CaptionSettings, DataSettings


def scene(seed, size=(512, 384)):
    """A picture with large and small things of many colours, and sharp edges."""
    rng = np.random.default_rng(seed)
    pixels = np.asarray(Image.fromarray(rng.integers(0, 255, (6, 8, 3), np.uint8)).resize(size, 0)).copy()
    for _ in range(60):
        x, y, w, h = rng.integers(0, 400), rng.integers(0, 300), *rng.integers(3, 60, 2)
        pixels[y : y + h, x : x + w] = rng.integers(0, 255, 3)
    return Image.fromarray(pixels)


def of(image):
    return sketch(np.asarray(image))


CHANGED = {
    "smaller": lambda image: image.resize((200, 150)),
    "brighter": lambda image: image.point(lambda level: min(255, int(level * 1.15 + 6))),
    "cut a little": lambda image: image.crop((6, 4, 506, 379)),
}


@pytest.mark.parametrize("how", CHANGED)
def test_changed_copies_look_alike_and_other_pictures_do_not(how):
    pictures = [scene(seed) for seed in range(6)]
    found = [of(image) for image in [*pictures, CHANGED[how](pictures[2])]]
    assert alike(found, 0.9) == [[2, 6]]
    assert alike(found[:6], 0.8) == []


def test_plain_and_missing_pictures_are_like_nothing():
    plain = of(Image.new("RGB", (64, 64), "red"))
    assert plain.flat and alike([plain, plain, None], 0.5) == []


def test_blur_shows_whatever_the_size():
    for size in ((512, 384), (1200, 900)):
        image = scene(1).resize(size, 0)
        assert of(image).detail > 0.05
        assert of(image.filter(ImageFilter.GaussianBlur(5 * size[0] / 512))).detail < 0.025


def test_the_data_sets_list_names_them(tmp_path):
    folder = tmp_path / "1_pib"
    folder.mkdir()
    for number in range(4):
        scene(number).save(folder / f"{number}.png")
    scene(0).resize((300, 225)).save(folder / "again.png")
    scene(9).filter(ImageFilter.GaussianBlur(6)).save(folder / "soft.png")
    data, sketches = DataSettings(train_data_dir=str(tmp_path), resolution="256"), Sketches()
    found = scan(data, CaptionSettings())
    by_kind = {one.kind: one for one in lint(found, "", data, sketches)}
    assert [found.records[i].path.name for i in by_kind["alike"].images] == ["0.png", "again.png"]
    assert [found.records[i].path.name for i in by_kind["blurred"].images] == ["soft.png"]
    assert not {"alike", "blurred"} & {one.kind for one in lint(found, "", data)}, "only where pixels may be read"


def test_each_file_is_decoded_once(tmp_path, monkeypatch):
    (tmp_path / "1_a").mkdir()
    scene(0).save(tmp_path / "1_a" / "a.png")
    records, sketches = scan(DataSettings(train_data_dir=str(tmp_path)), CaptionSettings()).records, Sketches()
    (first,) = sketches.of(records)
    monkeypatch.setattr("lib_lora_train.data.sketch._made", lambda record: pytest.fail("decoded again"))
    assert sketches.of(records) == [first]
