"""Names: what is taken, what is refused with a reason, and that whatever is taken can be written and prompted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lib_lora_train.errors import SettingsError
from lib_lora_train.export import names

patient = hypothesis_settings(max_examples=60, deadline=None)  # machines are busy


@pytest.mark.parametrize("given_, taken", [
    ("my_lora", "my_lora"), ("  spaced out ", "spaced out"), ("v1.5, final (2)", "v1.5, final (2)"),
    ("🐈👩‍🎨", "🐈👩‍🎨"),
    ("ねこ", "ねこ"), ("cafe\u0301", "café"), ("x.safetensors", "x"), ("X.SafeTensors", "X"), ("conx", "conx"),
    ("a" * 100, "a" * 100), ("it's", "it's"), ("[a]&b=c", "[a]&b=c"),
])  # fmt: skip
def test_good_names(given_, taken):
    assert names.check_name(given_) == taken


@pytest.mark.parametrize("bad, why", [
    ("", "empty"), ("   ", "empty"), (".safetensors", "empty"), ("a/b", "/"), ("a\\b", "has"), ("../x", "/"),
    ("..", "dot"), (".hidden", "dot"), ("ends.", "dot"), ("a:b", ":"), ("<lora>", "<>"), ('say "x"', '"'),
    ("a|b", "has"),    ("what?", "has"), ("a*", "has"), ("CON", "reserved"), ("nul", "reserved"), ("Com1", "reserved"),
    ("lpt9.v2", "reserved"), ("aux .x", "reserved"), ("COM\u00b9", "reserved"), ("a\nb", "invisible"),
    ("a\x00b", "invisible"), ("a\ud800", "invisible"), ("x" * 200, "too long"), ("🐈" * 26, "too long"),
])  # fmt: skip
def test_bad_names_are_refused_with_the_reason_and_a_remedy(bad, why):
    with pytest.raises(SettingsError) as caught:
        names.check_name(bad)
    assert why in caught.value.message and caught.value.remedy and caught.value.field == "output_name"
    assert len(caught.value.message) < 200


@pytest.mark.parametrize("given_, parts", [
    ("", ()), ("characters", ("characters",)), ("a/b", ("a", "b")), ("a\\b\\", ("a", "b")), ("./a", ("a",)),
    ("a//b", ("a", "b")),
])  # fmt: skip
def test_good_folders(given_, parts):
    assert names.check_folder(given_).parts == parts


@pytest.mark.parametrize(
    "bad", ["..", "a/../..", "/etc", "\\\\server\\x", "C:\\x", "c:x", "a/.hidden", "con", "a\x00", "x" * 101, "a/" * 60]
)
def test_bad_folders_are_refused(bad):
    with pytest.raises(SettingsError) as caught:
        names.check_folder(bad)
    assert caught.value.field == "output_folder" and caught.value.remedy


@patient
@given(st.text(max_size=120), st.text(max_size=20))
def test_whatever_is_taken_stays_in_the_folder_and_in_the_prompt_syntax(tmp_path_factory, name, sub):
    root = tmp_path_factory.getbasetemp() / "names"
    try:
        path = names.lora_path(root, name, sub)
    except SettingsError:
        return
    assert path.parent == root or root in path.parent.parents
    # as the web UI reads extra networks in prompts
    found = re.findall(r"<(\w+):([^>]+)>", f"trigger <lora:{path.stem}:1>")
    assert found and found[0][1].split(":") == [path.stem, "1"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    path.unlink()
    # a name that was taken is taken again, unchanged
    assert names.check_name(path.stem) == path.stem


@patient
@given(st.text(alphabet="ab🐈 .", min_size=1, max_size=100), st.integers(2, 999))
def test_successors_are_good_names_too(name, number):
    try:
        path = names.lora_path(Path("/x"), name)
    except SettingsError:
        return
    after = names.successor(path, number)
    assert after != path and after.stem.endswith(f"-{number}") and names.successor(path, 1) == path
    assert names.check_name(after.stem) == after.stem
