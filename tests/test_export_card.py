"""The card's json: ours is written, the user's stays, a damaged one is kept aside."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lib_lora_train.errors import ExportError
from lib_lora_train.export import card
from lib_lora_train.settings.schema import Naming

patient = hypothesis_settings(max_examples=60, deadline=None)  # machines are busy

OURS = card.entries(Naming(trigger_word="sks cat", preferred_weight=0.8, training_comment="baked ☕"), "SD1")


def _read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_new_card_has_what_the_web_ui_reads(tmp_path):
    path = tmp_path / "x.json"
    assert card.merge(path, OURS) == ""
    written = _read(path)
    assert written["activation text"] == "sks cat" and written["preferred weight"] == 0.8
    assert written["sd version"] == "SD1" and written["notes"] == "baked ☕"
    assert written["negative text"] == written["description"] == ""


def test_activation_text_goes_before_the_trigger_word():
    assert card.entries(Naming(trigger_word="a", activation_text="a, b"), "SDXL")["activation text"] == "a, b"


def test_what_the_user_wrote_stays_and_what_we_wrote_follows_the_recipe(tmp_path):
    path = tmp_path / "x.json"
    card.merge(path, OURS)
    edited = {**_read(path), "notes": "my own words", "extra": [1, {"deep": None}], "preferred weight": 0.0}
    path.write_text(json.dumps(edited), encoding="utf-8")
    card.merge(path, {**OURS, "activation text": "zyx", "notes": "second run", "preferred weight": 0.5})
    after = _read(path)
    assert after["notes"] == "my own words" and after["extra"] == edited["extra"]
    assert after["activation text"] == "zyx"  # ours before, so it follows
    assert after["preferred weight"] == 0.5  # 0 is the web UI's "not set"
    card.merge(path, {**OURS, "notes": "third run"})
    assert _read(path)["notes"] == "my own words"


def test_a_card_of_the_users_alone_is_only_completed(tmp_path):
    path = tmp_path / "x.json"
    own = {"sd version": "Unknown", "activation text": "mine", "notes": "", "civitai": {"id": 7}}
    path.write_text(json.dumps(own), encoding="utf-8")
    card.merge(path, OURS)
    after = _read(path)
    assert after["activation text"] == "mine" and after["civitai"] == {"id": 7}
    assert after["sd version"] == "SD1" and after["notes"] == "baked ☕"


def test_an_unchanged_card_is_not_written_again(tmp_path):
    path = tmp_path / "x.json"
    card.merge(path, OURS)
    before = path.stat().st_mtime_ns, path.stat().st_ino
    card.merge(path, OURS)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe{\x00", b"null", b"[" * 100_000], ids=range(6))
def test_a_damaged_card_is_kept_aside_and_told(content, tmp_path):
    path = tmp_path / "x.json"
    for kept in ("x.json.bak", "x.json.2.bak"):
        path.write_bytes(content)
        note = card.merge(path, OURS)
        assert kept in note and (tmp_path / kept).read_bytes() == content
        assert _read(path)["activation text"] == "sks cat"


def test_a_card_with_a_byte_order_mark_is_read(tmp_path):
    path = tmp_path / "x.json"
    path.write_bytes(b'\xef\xbb\xbf{"notes": "mine"}')
    assert card.merge(path, OURS) == "" and _read(path)["notes"] == "mine"


def test_a_folder_in_its_place_is_named(tmp_path):
    (tmp_path / "x.json").mkdir()
    with pytest.raises(ExportError, match="x.json"):
        card.merge(tmp_path / "x.json", OURS)


@patient
@given(
    st.dictionaries(
        st.sampled_from([*OURS, "other"]), st.one_of(st.text(), st.integers(), st.none(), st.lists(st.text()))
    )
)
def test_merging_twice_is_merging_once_and_loses_nothing(tmp_path_factory, own):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(own), encoding="utf-8")
    card.merge(path, OURS)
    once = _read(path)
    card.merge(path, OURS)
    assert _read(path) == once
    for name, value in own.items():
        assert once[name] == value or (value in ("", None, 0, "Unknown") and once[name] == OURS[name])
