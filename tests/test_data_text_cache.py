"""Conditioning kept while the text encoder is not trained."""

from __future__ import annotations

import pytest
import torch
from data_stage import (
    Letters,
    batches,
    entries,
    make_folder,
    make_loan,
    make_vae,
    ready,
    settings_of,
)

from lib_lora_train.data.latents import LatentCache
from lib_lora_train.data.text_cache import TextCache


@pytest.fixture(scope="module")
def vae():
    return make_vae()


@pytest.fixture
def loan(vae):
    return make_loan(vae)


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path)


def test_text_is_encoded_once_and_comes_with_the_batch(loan, folder, tmp_path):
    settings, cache = settings_of(folder, caption_dropout_rate=0.3), LatentCache(None)
    _, plan = ready(loan, settings, cache)
    captions = [record.caption for record in plan.records] + [""]
    texts = TextCache(tmp_path)
    events = list(texts.fill(loan, captions + captions, 75, 2))
    assert events and all(event.name == "text" for event in events)
    assert sorted(loan.family.encoded) == sorted(captions)
    list(TextCache(tmp_path).fill(loan, captions, 75, 2))
    assert len(loan.family.encoded) == len(captions), "cached on disk"
    for batch in batches(loan, settings, cache, plan, texts=texts):
        want = Letters().encode_text(loan, batch.captions, 75, 2)
        assert torch.equal(batch.conditioning.context, want.context)
        assert torch.equal(batch.conditioning.pooled, want.pooled)


def test_weighted_captions_are_another_entry_and_nothing_else_is(loan, tmp_path):
    texts = TextCache(tmp_path)
    list(texts.fill(loan, ["a"], 75, 1))
    plain = texts.get(["a"]).context
    list(texts.fill(loan, ["a"], 75, 1, weighted=True))
    assert torch.equal(texts.get(["a"]).context, 2 * plain) and len(entries(tmp_path)) == 2
    list(texts.fill(loan, ["a"], 75, 1))
    assert torch.equal(texts.get(["a"]).context, plain) and len(loan.family.encoded) == 2


def test_text_of_another_encoder_length_or_clip_skip_is_another_entry(loan, tmp_path):
    texts = TextCache(tmp_path)
    list(texts.fill(loan, ["a"], 75, 1))
    for changes in ((150, 1), (75, 2)):
        list(texts.fill(loan, ["a"], *changes))
    with torch.no_grad():
        loan.text_encoders[0].weight += 1
    list(texts.fill(loan, ["a"], 75, 1))
    assert len(entries(tmp_path)) == 4 and texts.get(["unheard of"]) is None
