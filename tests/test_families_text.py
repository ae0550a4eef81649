"""Tokens and text encoding against the reference numbers, and our tokenizer against a host's."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import golden_data
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_lora_train.errors import SettingsError
from lib_lora_train.families.borrow import borrow_text
from lib_lora_train.families.kinds import TextKind
from lib_lora_train.families.known import FAMILIES
from lib_lora_train.families.sdxl import SDXL
from lib_lora_train.families.text import hidden_states, rows_of
from lib_lora_train.families.tokenizer import ClipTokenizer, HostTokenizer

TOKENS = golden_data.facts("03_tokens")["cases"]
EXCLAMATION_MARK = 256  # the token of one that stands alone
TEXTS = golden_data.facts("03_text_encoding")


@pytest.fixture(scope="module")
def tokenizer():
    return ClipTokenizer()


@pytest.mark.golden
@pytest.mark.parametrize("case", TOKENS, ids=lambda c: f"{c['model']} {c['max_token_length']}")
def test_token_rows_are_the_references(case, tokenizer):
    """Of every text encoder of the family. One difference is meant: the reference's library takes an exclamation mark
    for padding where that is its token 0; OpenCLIP, on whose tokens the models were trained, does not."""
    for number, kind in enumerate(FAMILIES[case["model"].upper()].texts):
        own = tokenizer if kind.pad is None else ClipTokenizer(kind.pad)
        assert [own.bos, own.eos, own.pad] == [case["bos"], case["eos"][number], case["pad"][number]]
        for row in case["rows"]:
            got = rows_of(own, [row["caption"]], case["max_token_length"] or 75)[0]
            if kind.pad is not None:
                got[got == EXCLAMATION_MARK] = kind.pad
            assert got.tolist() == row["input_ids"][number]


@pytest.fixture(scope="module")
def reference():
    return golden_data.tensors("03_text_encoding")


def encoder_of(reference, name):
    facts = TEXTS["models"][name]
    prefix = f"model/{name}/"
    tensors = {key.removeprefix(prefix): t for key, t in reference.items() if key.startswith(prefix)}
    kind = TextKind("", pooled=facts["projection"] is not None)
    return borrow_text(tensors, facts["heads"], facts["activation"], kind)


@pytest.mark.golden
@pytest.mark.parametrize("case", [c for c in TEXTS["cases"] if c["model"] != "sdxl"], ids=lambda c: c["tensor"])
def test_encoded_text_is_the_references(case, reference):
    name = case["model"]
    rows = reference[f"{name}/chunks{case['chunks']}/input_ids"]
    got = hidden_states(encoder_of(reference, name), rows, case["clip_skip"] or 1, torch.float32)
    torch.testing.assert_close(got, reference[case["tensor"]], rtol=1e-5, atol=5e-6)


@pytest.mark.golden
@pytest.mark.parametrize("case", [c for c in TEXTS["cases"] if c["model"] == "sdxl"], ids=lambda c: c["tensors"])
def test_both_encoders_and_the_pooled_vector_are_the_references(case, reference):
    found = encoded_by_sdxl(reference, f"sdxl/chunks{case['chunks']}", clip_skip=1)
    folder = case["tensors"].removesuffix("*")
    wanted = torch.cat([reference[f"{folder}hidden1"], reference[f"{folder}hidden2"]], dim=-1)
    torch.testing.assert_close(found.context, wanted, rtol=1e-5, atol=5e-6)
    torch.testing.assert_close(found.pooled, reference[f"{folder}pool2"], rtol=1e-5, atol=5e-6)


@pytest.mark.golden
def test_clip_skip_of_two_is_sdxls_own_and_more_is_more(reference):
    one, two, three = (encoded_by_sdxl(reference, "sdxl/chunks1", skip) for skip in (1, 2, 3))
    assert torch.equal(one.context, two.context)
    assert torch.equal(one.pooled, three.pooled)
    assert not torch.allclose(two.context, three.context)


def encoded_by_sdxl(reference, folder, clip_skip):
    """As the family encodes texts whose tokens are the reference's."""
    ids = TEXTS["special_ids"]
    rows = [reference[f"{folder}/input_ids{number}"] for number in (1, 2)]
    pads = [ids["pad"]["xl_te1"], ids["pad"]["xl_te2"]]
    fakes = [
        SimpleNamespace(bos=ids["bos"], eos=ids["eos"], pad=pad, encode=partial(inside, r, ids["eos"]))
        for r, pad in zip(rows, pads, strict=True)
    ]
    loan = SimpleNamespace(
        text_encoders=[encoder_of(reference, name) for name in ("xl_te1", "xl_te2")], tokenizers=fakes, device="cpu"
    )
    return SDXL().encode_text(loan, ["0", "1"], rows[0].shape[1] * 75, clip_skip)


def inside(rows, eos, text):
    """The tokens of a sample's rows up to the first end token."""
    found = rows[int(text), :, 1:-1].flatten().tolist()
    return found[: found.index(eos)] if eos in found else found


def test_more_clip_skip_than_layers_is_refused(reference):
    rows = reference["sd1_te/chunks1/input_ids"]
    with pytest.raises(SettingsError, match="CLIP skip 5") as refused:
        hidden_states(encoder_of(reference, "sd1_te"), rows, 5, torch.float32)
    assert refused.value.field == "clip_skip"


@settings(deadline=None)
@given(st.lists(st.integers(0, 90), max_size=300), st.sampled_from([75, 150, 225]))
def test_rows_hold_the_text_in_order_and_nothing_else(ids, length):
    fake = SimpleNamespace(bos=98, eos=99, pad=99, encode=lambda _text: ids)
    rows = rows_of(fake, ["x"], length)
    assert rows.shape == (1, length // 75, 77)
    assert (rows[..., 0] == 98).all() and (rows[..., -1] == 99).all()
    inside = rows[..., 1:-1].flatten().tolist()
    kept = ids[:length]
    assert inside == kept + [99] * (length - len(kept))


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
