"""Weights of words in captions against the reference numbers."""

from __future__ import annotations

from types import SimpleNamespace

import golden_data
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_lora_train.families.known import FAMILIES
from lib_lora_train.families.text import rows_of
from lib_lora_train.families.tokenizer import ClipTokenizer
from lib_lora_train.families.weighting import parse, weighed, weighted_rows

FACTS = golden_data.facts("03_weighted_captions")


@pytest.fixture(scope="module")
def tokenizers():
    return {pad: ClipTokenizer(pad) for pad in (None, 0)}


@pytest.mark.golden
@pytest.mark.parametrize("case", FACTS["parse_prompt_attention"], ids=lambda c: c["caption"][:20])
def test_pieces_and_weights_are_the_references(case):
    got = parse(case["caption"])
    assert [text for text, _ in got] == [text for text, _ in case["parsed"]]
    assert [weight for _, weight in got] == pytest.approx([weight for _, weight in case["parsed"]])


@pytest.mark.golden
@pytest.mark.parametrize("case", FACTS["tokenized"], ids=lambda c: f"{c['model']} {c['max_token_length']}")
def test_tokens_and_their_weights_are_the_references(case, tokenizers):
    for number, kind in enumerate(FAMILIES[case["model"].upper()].texts):
        rows, weights = weighted_rows(tokenizers[kind.pad], [case["caption"]], case["max_token_length"] or 75)
        assert rows[0].tolist() == case["input_ids"][number]
        inside = torch.tensor(case["weights"][number])[:, 1:-1].flatten()
        torch.testing.assert_close(weights[0, 1:-1], inside)
        assert weights[0, 0] == weights[0, -1] == 1


@settings(deadline=None)
@given(st.text(alphabet="ab ,.:12()[]\\", max_size=40))
def test_any_text_is_parsed_and_without_marks_is_one_piece(text):
    pieces = parse(text)
    assert pieces and all(isinstance(weight, float) for _, weight in pieces)
    plain = "".join(letter for letter in text if letter not in "()[]\\")
    assert parse(plain) == [(plain, 1.0)]


@pytest.mark.parametrize("text", ["(a:1.2.3)", "(a:)", "(a:b)", "(a : 1.5 )"])
def test_odd_weights_do_not_fail(text):
    pieces = parse(text)
    assert pieces[0][0].startswith("a") and pieces[0][1] == (1.5 if "1.5" in text else 1.1)


def test_without_marks_nothing_changes(tokenizers):
    captions = ["a photo of a cat, sitting", ""]
    rows, weights = weighted_rows(tokenizers[None], captions, 150)
    assert torch.equal(rows, rows_of(tokenizers[None], captions, 150)) and (weights == 1).all()


def test_states_are_multiplied_and_not_renormalised():
    states = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    weights = torch.tensor([[1, 1, 2, 1, 1], [1, 0.5, 1, 1, 1.0]])
    got = weighed(states, weights)
    torch.testing.assert_close(got[0, 2], 2 * states[0, 2])
    torch.testing.assert_close(got[1, 1], states[1, 1] / 2)
    assert torch.equal(got[1, 2:], states[1, 2:]) and weighed(states, None) is states


def test_sdxl_weighs_both_encoders_and_leaves_the_pooled_vector():
    import test_families_text as texts

    from lib_lora_train.families.sdxl import SDXL

    reference = golden_data.tensors("03_text_encoding")

    def encode(text):  # one word is token 7, whatever it weighs
        return [7] * len(text.split())

    tokenizers = [SimpleNamespace(bos=98, eos=99, pad=pad, encode=encode) for pad in (99, 0)]
    encoders = [texts.encoder_of(reference, name) for name in ("xl_te1", "xl_te2")]
    loan = SimpleNamespace(text_encoders=encoders, tokenizers=tokenizers, device="cpu")
    plain = SDXL().encode_text(loan, ["a b c"], 75, 2)
    found = SDXL().encode_text(loan, ["a (b:1.5) c"], 75, 2, weighted=True)
    factors = torch.ones(77)
    factors[2] = 1.5
    torch.testing.assert_close(found.context, plain.context * factors[None, :, None])
    assert torch.equal(found.pooled, plain.pooled)
    unread = SDXL().encode_text(loan, ["a (b:1.5) c"], 75, 2)
    assert torch.equal(unread.context, plain.context)
