"""Caption files in every encoding people have, and where they are looked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lib_lora_train.data import captions

patient = hypothesis_settings(max_examples=60, deadline=None)  # machines are busy


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


def test_all_lines_are_read_where_one_is_chosen_later():
    got = captions.decode(b" one, a \n\n two\r\n", every_line=True)
    assert (got.text, got.remarks) == ("one, a\ntwo", frozenset())
