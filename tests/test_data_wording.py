"""What training makes of captions: to the letter by the reference's rule, tidier by ours; what can be listed."""

from __future__ import annotations

import random

import golden_data
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lib_lora_train.data.wording import When, process, variants
from lib_lora_train.settings.schema import CaptionSettings

patient = hypothesis_settings(max_examples=60, deadline=None)  # machines are busy
CASES = [c for c in golden_data.facts("03_captions")["cases"] if not any("TOKEN" in r for r in c["results"])]


def made(caption, seed=0, when=When(), **options):
    return process(caption, CaptionSettings(**options), random.Random(seed), when)


@pytest.mark.golden
@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c['caption'][:12]!r} {c['options']} {c['current_step']}")
def test_the_references_rule_draw_by_draw(case):
    when = When(case["current_epoch"], case["current_step"], case["max_train_steps"])
    options = {**case["options"], "caption_rule": "sd-scripts"}
    assert [made(case["caption"], seed, when, **options) for seed in case["seeds"]] == case["results"]


EDITING = {"shuffle_caption", "caption_tag_dropout_rate", "token_warmup_step"}  # options that take tags one by one
OURS = {  # where tidy captions differ on purpose: (caption, options) -> ours; the reference's is in the golden file
    "stripped": ("  a  ,b ,, c,", {}, "a  ,b ,, c,"),
    "no separator left": ("1girl, solo ||| hat, tree", {"keep_tokens_separator": "|||"}, "1girl, solo, hat, tree"),
    "further separators": (
        "a ||| b ||| c ||| d",
        {"keep_tokens_separator": "|||"},
        "a, b, c, d",
    ),
    "groups like tags": ("a, b;;c", {"secondary_separator": ";;"}, "a, b, c"),
    "suffix without a gap": ("sky", {"caption_prefix": "PRE,", "caption_suffix": ", SUF"}, "PRE, sky, SUF"),
    "every line has them": (
        "x\nx",
        {"enable_wildcard": True, "caption_prefix": "p", "caption_suffix": "s"},
        "p x s",
    ),
    "nothing around nothing": ("", {"caption_prefix": "photo of"}, "photo of"),
}


@pytest.mark.parametrize("name", OURS)
def test_tidy_captions_differ_from_the_references(name):
    caption, options, wanted = OURS[name]
    assert made(caption, **options) == wanted
    assert made(caption, **options, caption_rule="sd-scripts") != wanted


@pytest.mark.golden
@pytest.mark.parametrize("case", [c for c in CASES if not set(c["options"]) & {"caption_prefix", "caption_suffix"}])
def test_tidy_captions_have_the_references_tags(case):
    """The same draws and tags; only spaces, empty tags and what parts tags may differ."""
    said = case["options"]
    marked = said.get("keep_tokens_separator") or "\n"
    parted = case["caption"].split(said.get("caption_separator", ","))
    empty = len(parted) > 1 and not all(tag.strip() for tag in parted)
    if empty and EDITING & said.keys() and marked not in case["caption"]:
        pytest.skip("the reference shuffles, counts and drops empty tags too")
    when = When(case["current_epoch"], case["current_step"], case["max_train_steps"])

    def tags(text):
        text = text.replace("|||", ",").replace(";", ",").replace(" ", ",")
        return [tag for tag in text.split(",") if tag]

    for seed, reference in zip(case["seeds"], case["results"], strict=True):
        assert tags(made(case["caption"], seed, when, **case["options"])) == tags(reference)


def test_prefix_and_suffix_keep_their_places_when_tags_move_and_go():
    options = {"shuffle_caption": True, "caption_tag_dropout_rate": 0.9, "keep_tokens": 1}
    for seed in range(20):
        got = made("sks, a, b, c, d", seed, caption_prefix="photo of", caption_suffix="in oil", **options)
        assert got.startswith("photo of sks") and got.endswith(" in oil")


def test_tags_are_joined_as_they_were_parted():
    assert made("One cat. It sits.", caption_separator=".", shuffle_caption=True, keep_tokens=2) == "One cat. It sits"
    assert made("a b c", caption_separator=" ", shuffle_caption=True, keep_tokens=3) == "a b c"


def test_warm_up_shows_more_tags_with_every_step():
    tags = ", ".join("abcdefghij")
    options = {"token_warmup_step": 10, "token_warmup_min": 2}
    counts = [len(made(tags, when=When(1, step, 50), **options).split(", ")) for step in range(15)]
    assert counts[0] == 2 and counts[-5:] == [10] * 5 and counts == sorted(counts) and len(set(counts)) > 4


def test_epochs_without_captions():
    got = [made("a", when=When(epoch), caption_dropout_every_n_epochs=3) for epoch in range(1, 7)]
    assert got == ["a", "a", "", "a", "a", ""]


TAGS = st.lists(st.text("abc ", min_size=1, max_size=4).map(str.strip).filter(bool), min_size=1, max_size=8)


@patient
@given(TAGS, st.integers(0, 9), st.integers(0, 99))
def test_shuffling_keeps_all_tags_and_the_first_ones_in_place(tags, keep, seed):
    got = made(", ".join(tags), seed, shuffle_caption=True, keep_tokens=keep).split(", ")
    assert sorted(got) == sorted(tags) and got[:keep] == tags[:keep]


@patient
@given(
    st.text(alphabet="ab{}|,\n; ", max_size=20) | st.text(max_size=12),
    st.fixed_dictionaries(
        {
            "caption_dropout_rate": st.sampled_from([0.0, 0.4]),
            "caption_dropout_every_n_epochs": st.integers(0, 2),
            "enable_wildcard": st.booleans(),
            "keep_tokens_separator": st.sampled_from(["", "|"]),
            "secondary_separator": st.sampled_from(["", ";"]),
            "caption_prefix": st.sampled_from(["", "{p|q}"]),
            "caption_rule": st.sampled_from(["tidy", "sd-scripts"]),
        }
    ),
    st.integers(0, 99),
)
def test_variants_hold_whatever_processing_makes(caption, options, seed):
    listed = variants(caption, CaptionSettings(**options))
    assert listed is None or made(caption, seed, When(1 + seed % 4), **options) in listed


def test_variants_are_all_and_no_more_than_can_be():
    caption = "a {red|blue} hat\na {green|{{old}} one} hat"
    settings = CaptionSettings(enable_wildcard=True, caption_dropout_rate=0.2)
    seen = {process(caption, settings, random.Random(seed)) for seed in range(300)}
    assert set(variants(caption, settings)) == seen
    assert seen == {"", "a red hat", "a blue hat", "a green hat", "a {old} one hat"}


@pytest.mark.parametrize(
    "options", [{"shuffle_caption": True}, {"caption_tag_dropout_rate": 0.1}, {"token_warmup_step": 5}]
)
def test_what_changes_at_every_use_is_not_listed(options):
    assert variants("a, b", CaptionSettings(**options)) is None


def test_very_many_wildcards_are_not_listed():
    assert variants("{a|b|c|d} " * 5, CaptionSettings(enable_wildcard=True)) is None
    assert len(variants("{a|b|c|d} " * 2, CaptionSettings(enable_wildcard=True))) == 16


@pytest.mark.parametrize(
    ("caption", "whole"),
    [
        ("(red hat, smile:1.2), sky, tree", "(red hat, smile:1.2)"),
        ("sky, [old, ((worn), dirty)], tree", "[old, ((worn), dirty)]"),
        (r"sky, hat \(red\, tall\), tree", None),  # escaped brackets are letters
        ("sky, >:), tree, hat", None),
    ],
)
def test_a_weighted_bracket_is_one_tag(caption, whole):
    """The reference tears it apart, and so do we where brackets are letters."""
    split = [tag.strip() for tag in caption.split(",")]
    for seed in range(8):
        for weighted in (True, False):
            shuffled = made(caption, seed, shuffle_caption=True, weighted_captions=weighted)
            assert sorted(tag.strip() for tag in shuffled.split(",")) == sorted(split)
            assert not (weighted and whole) or whole in shuffled
    torn = {made(caption, seed, shuffle_caption=True, caption_rule="sd-scripts") for seed in range(8)}
    assert whole is None or not all(whole in text for text in torn)
    assert made(caption, 1, caption_tag_dropout_rate=1.0, keep_tokens=1, weighted_captions=True) == (
        whole if whole and caption.startswith(whole) else split[0]
    )
