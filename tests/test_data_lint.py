"""Each oddity of a data set is found and named, and a good one gives no word."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib_lora_train.data.lint import CHECKS, lint
from lib_lora_train.data.scan import Scan
from lib_lora_train.data.types import ImageRecord
from lib_lora_train.settings.schema import DataSettings


def record(i, size=(512, 512), caption="sks, dog", repeats=1, is_reg=False, file="x.txt", folder="1_dog", bytes=None):
    path = Path(folder) / f"{i}.png"
    return ImageRecord(path, size, caption, repeats, is_reg, bytes=i if bytes is None else bytes, caption_file=file)


GOOD = [record(i) for i in range(12)]


def found(records, kind=None, trigger="sks", **data):
    items = lint(Scan(list(records)), trigger, DataSettings(**data))
    return items if kind is None else [item for item in items if item.kind == kind]


def test_nothing_to_say_about_a_good_set():
    assert found(GOOD) == []


CASES = {
    "no_captions": ([record(i, caption="") for i in range(3)], [0, 1, 2], "No picture"),
    "caption_files": ([*GOOD, record(12, caption="dog, SKS", file=None)], [12], "1 of 13"),
    "trigger": ([*GOOD, record(12, caption="a dog")], [12], "'sks'"),
    "small": ([*GOOD, record(12, size=(200, 200)), record(13, size=(300, 300))], [12, 13], "200x200"),
    "buckets": ([*GOOD, record(12, size=(900, 300))], [12], "512x512 has 12"),
    "repeats": ([*GOOD, record(12, folder="2023_dog", repeats=2023)], [12], "2023_dog"),
    "regularisation": ([*GOOD, *[record(i, is_reg=True) for i in range(12, 25)]], [24], "1 of 13"),
}


@pytest.mark.parametrize("kind", CASES)
def test_oddities(kind):
    records, images, text = CASES[kind]
    (item,) = found(records, kind)
    assert item.images == images and text in item.text


def test_exact_copies(tmp_path):
    contents = [b"a" * 200_000, b"a" * 200_000, b"a" * 199_999 + b"b", b"c"]
    records = []
    for i, data in enumerate(contents):
        (tmp_path / f"{i}.png").write_bytes(data)
        records.append(record(i, folder=str(tmp_path), bytes=len(data)))
    (item,) = found(records, "duplicates")
    assert item.images == [0, 1]


def test_every_check_has_a_case():
    assert set(CASES) | {"duplicates", "masks", "alike", "blurred"} == set(CHECKS)


def test_regularisation_pictures_need_no_trigger_and_may_be_small():
    assert found([*GOOD, record(12, (64, 64), "dog", is_reg=True)]) == []


def test_no_trigger_chosen_is_no_fault_of_the_captions():
    assert found(GOOD, trigger=" ") == []
