"""Tokens and text encoding against the reference numbers, and our tokenizer against a host's."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from lib_lora_train.errors import SettingsError
from lib_lora_train.families.borrow import borrow_text
from lib_lora_train.families.text import hidden_states, rows_of
from lib_lora_train.families.tokenizer import ClipTokenizer, HostTokenizer

GOLDEN = Path(os.environ.get("GOLDEN_DIR") or Path(__file__).parent / "golden")
TOKENS = json.loads((GOLDEN / "03_tokens.json").read_text())["cases"]
TEXTS = json.loads((GOLDEN / "03_text_encoding.json").read_text())


@pytest.fixture(scope="module")
def tokenizer():
    return ClipTokenizer()


@pytest.mark.golden
@pytest.mark.parametrize("case", [c for c in TOKENS if c["model"] == "sd1"], ids=lambda c: str(c["max_token_length"]))
def test_token_rows_are_the_references(case, tokenizer):
    assert [tokenizer.bos, tokenizer.eos, tokenizer.pad] == [case["bos"], case["eos"][0], case["pad"][0]]
    for row in case["rows"]:
        assert rows_of(tokenizer, [row["caption"]], case["max_token_length"] or 75)[0].tolist() == row["input_ids"][0]


@pytest.fixture(scope="module")
def reference():
    return load_file(GOLDEN / "03_text_encoding.safetensors")


def encoder_of(reference, name):
    facts = TEXTS["models"][name]
    prefix = f"model/{name}/"
    tensors = {key.removeprefix(prefix): t for key, t in reference.items() if key.startswith(prefix)}
    return borrow_text(tensors, facts["heads"], facts["activation"])


@pytest.mark.golden
@pytest.mark.parametrize("case", [c for c in TEXTS["cases"] if c["model"] == "sd1_te"], ids=lambda c: c["tensor"])
def test_encoded_text_is_the_references(case, reference):
    rows = reference[f"sd1_te/chunks{case['chunks']}/input_ids"]
    got = hidden_states(encoder_of(reference, "sd1_te"), rows, case["clip_skip"] or 1, torch.float32)
    torch.testing.assert_close(got, reference[case["tensor"]], rtol=1e-5, atol=5e-6)


def test_more_clip_skip_than_layers_is_refused(reference):
    rows = reference["sd1_te/chunks1/input_ids"]
    with pytest.raises(SettingsError, match="CLIP skip 5") as refused:
        hidden_states(encoder_of(reference, "sd1_te"), rows, 5, torch.float32)
    assert refused.value.field == "clip_skip"


@settings(deadline=None)
@given(st.lists(st.integers(0, 90), max_size=300), st.sampled_from([75, 150, 225]))
def test_rows_hold_the_text_in_order_and_nothing_else(ids, length):
    fake = SimpleNamespace(bos=98, eos=99, pad=97, encode=lambda _text: ids)
    rows = rows_of(fake, ["x"], length)
    assert rows.shape == (1, length // 75, 77)
    assert (rows[..., 0] == 98).all() and (rows[..., -1] == 99).all()
    inside = rows[..., 1:-1].flatten().tolist()
    kept = ids[:length]
    assert inside == kept + [97] * (length - len(kept))


@settings(deadline=None)
@given(st.text(max_size=60))
def test_our_tokenizer_survives_any_text(text):
    ids = _SHARED.encode(text)
    assert all(0 <= i <= _SHARED.eos for i in ids)
    assert ids == _SHARED.encode(f"  {text}\n")


_SHARED = ClipTokenizer()


@pytest.fixture(scope="module")
def hosts(tiny_checkpoint):
    from transformers import CLIPTokenizer

    return HostTokenizer(CLIPTokenizer.from_pretrained(str(tiny_checkpoint.with_name("tiny-sd1-clip"))))


@pytest.mark.parametrize(
    "text", ["", "a photo of an astronaut", "1girl, solo, (masterpiece:1.2), <lora:x:1>", "l'été 東京 😀 it's 2024!!"]
)
def test_a_hosts_tokenizer_gives_the_same_ids(text, hosts, tokenizer):
    assert hosts.encode(text) == tokenizer.encode(text)
    assert (hosts.bos, hosts.eos, hosts.pad) == (tokenizer.bos, tokenizer.eos, tokenizer.pad)


def test_special_words_are_their_tokens(tokenizer):
    assert tokenizer.encode("<|startoftext|><|endoftext|>") == [tokenizer.bos, tokenizer.eos]


def test_another_padding(tokenizer):
    assert ClipTokenizer(pad=0).pad == 0
