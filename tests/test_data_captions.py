"""Captions as the reference makes them, in every encoding people have."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lib_lora_train.data import captions
from lib_lora_train.settings.schema import CaptionSettings

GOLDEN = Path(os.environ.get("GOLDEN_DIR") or Path(__file__).parent / "golden")
patient = hypothesis_settings(max_examples=60, deadline=None)  # machines are busy
OURS = {"shuffle_caption", "keep_tokens", "caption_dropout_rate", "caption_tag_dropout_rate", "caption_separator"}


def golden_cases():
    cases = json.loads((GOLDEN / "03_captions.json").read_text(encoding="utf-8"))["cases"]
    return [c for c in cases if set(c["options"]) <= OURS and not any("TOKEN" in r for r in c["results"])]


@pytest.mark.golden
@pytest.mark.parametrize("case", golden_cases(), ids=lambda c: f"{c['caption'][:12]!r} {c['options']}")
def test_processing_draw_by_draw(case):
    settings = CaptionSettings(**case["options"])
    got = [captions.process(case["caption"], settings, random.Random(seed)) for seed in case["seeds"]]
    assert got == case["results"]


TAGS = st.lists(st.text("abc ", min_size=1, max_size=4).map(str.strip).filter(bool), min_size=1, max_size=8)


@patient
@given(TAGS, st.integers(0, 9), st.integers(0, 99))
def test_shuffling_keeps_all_tags_and_the_first_ones_in_place(tags, keep, seed):
    settings = CaptionSettings(shuffle_caption=True, keep_tokens=keep)
    got = captions.process(", ".join(tags), settings, random.Random(seed)).split(", ")
    assert sorted(got) == sorted(tags) and got[:keep] == tags[:keep]


@patient
@given(st.text(), st.floats(0, 1), st.integers(0, 99))
def test_variants_hold_whatever_processing_makes(caption, rate, seed):
    settings = CaptionSettings(caption_dropout_rate=rate)
    assert captions.process(caption, settings, random.Random(seed)) in captions.variants(caption, settings)


def test_shuffled_captions_cannot_be_listed():
    assert captions.variants("a, b", CaptionSettings(shuffle_caption=True)) is None
    assert captions.variants("a, b", CaptionSettings(caption_tag_dropout_rate=0.1)) is None


TEXT = "café, naïve Ärger"


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "latin-1"]
)
def test_encodings(encoding):
    got = captions.decode((TEXT + "\r\n").encode(encoding))
    assert got.text == TEXT
    assert got.remarks == (frozenset({"encoding"}) if encoding in ("cp1252", "latin-1") else frozenset())


@patient
@given(st.binary(max_size=60))
def test_no_bytes_fail(data):
    assert "\n" not in captions.decode(data).text


@pytest.mark.parametrize(
    ("data", "text", "remarks"),
    [
        (b"", "", {"empty"}),
        (b" \n\t\n", "", {"empty"}),
        (b"\nsecond", "", {"lines"}),
        (b"one\ntwo\n", "one", {"lines"}),
        (b"one\r\n", "one", set()),
        (b"\xff\xfe", "", {"empty"}),
    ],
)
def test_first_line_counts_and_oddities_are_remarked(data, text, remarks):
    got = captions.decode(data)
    assert (got.text, got.remarks) == (text, frozenset(remarks))


@pytest.mark.parametrize(
    ("files", "extension", "found"),
    [
        (["a.txt", "a.caption"], ".txt", "a.txt"),
        (["a.txt", "a.caption"], "caption", "a.caption"),
        (["a.caption"], ".txt", "a.caption"),
        (["a.jpg.txt"], ".txt", "a.jpg.txt"),
        (["a.txt", "a.jpg.txt"], ".txt", "a.txt"),
        (["A.TXT"], ".txt", "A.TXT"),
        (["a.tags"], ".tags", "a.tags"),
        (["b.txt"], ".txt", None),
    ],
)
def test_where_captions_are_looked_for(files, extension, found):
    names = {name.lower(): Path(name) for name in files}
    assert captions.find(Path("a.jpg"), names, extension) == (Path(found) if found else None)
