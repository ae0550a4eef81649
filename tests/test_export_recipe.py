"""A recipe comes back out of a file: ours whole, sd-scripts' as far as it goes, and no file can do harm."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lib_lora_train.export import lora_file, metadata
from lib_lora_train.export.metadata import RunFacts
from lib_lora_train.families.loan import Identity
from lib_lora_train.settings.from_metadata import PATH_FIELDS, RECIPE_KEY, recipe_of
from lib_lora_train.settings.load import from_mapping, to_mapping
from lib_lora_train.settings.schema import group_of

patient = hypothesis_settings(max_examples=60, deadline=None)  # machines are busy

OWN = from_mapping(
    {
        "output_name": "🐈", "trigger_word": "sks, cat", "sample_prompts": "one\n<b>two</b>", "resolution": "512x768",
        "network_type": "LoCon", "optimizer_type": "Prodigy", "optimizer_args": "d_coef=2", "train_data_dir": "/a/cats",
        "max_train_epochs": 7, "seed": 2**53, "lr_warmup_steps": 0.1, "caption_separator": "|",
    }
)  # fmt: skip


def test_our_recipe_comes_back_whole_through_a_file(tmp_path):
    built = metadata.build(OWN, RunFacts(Identity("x")))
    lora_file.save(tmp_path / "x.safetensors", {"w": torch.zeros(1)}, built)
    found = recipe_of(lora_file.read_metadata(tmp_path / "x.safetensors"))
    assert found.source == "ours" and found.not_carried == ["train_data_dir = cats"]
    expected = {k: v for k, v in to_mapping(OWN).items() if k not in PATH_FIELDS}
    assert found.settings == expected
    assert to_mapping(from_mapping({**found.settings, "train_data_dir": "/a/cats"})) == to_mapping(OWN)


def test_the_web_uis_reader_may_have_parsed_it_already():
    built = metadata.build(OWN, RunFacts(Identity("x")))
    parsed = {k: json.loads(v) if v.startswith("{") else v for k, v in built.items()}
    assert recipe_of(parsed) == recipe_of(built)


def test_our_file_read_as_a_foreign_one_tells_the_same():
    """The two routes, our recipe and the ss_ entries, agree wherever both speak."""
    built = metadata.build(OWN, RunFacts(Identity("x"), optimizer_args={"d_coef": 2}, total_steps=1000))
    ours = recipe_of(built).settings
    foreign = recipe_of({k: v for k, v in built.items() if k != RECIPE_KEY})
    assert foreign.source == "other"
    # decided in the run, or told with the library's defaults
    told_otherwise = {"clip_skip", "mixed_precision", "optimizer_args", "trigger_word"}
    same = {k: v for k, v in foreign.settings.items() if k not in told_otherwise}
    assert same == {k: ours[k] for k in same} and len(same) > 30


def test_nothing_is_nothing():
    assert recipe_of({}) == recipe_of({"format": "pt"}) == recipe_of({"ss_seed": "None"})
    assert recipe_of({}).source == "none" and recipe_of({}).settings == {}


def test_a_newer_version_of_ours_gives_what_is_known():
    recipe = json.dumps({"recipe_version": 99, "network_dim": 8, "brand_new": [1], "lr_scheduler": "from_the_future"})
    found = recipe_of({RECIPE_KEY: recipe})
    assert found.source == "ours" and found.settings == {"network_dim": 8}
    assert found.not_carried[0].startswith("recipe_version = 99: made by a newer version")
    assert found.not_carried[1:] == ["brand_new = [1]", "lr_scheduler = from_the_future"]


HOSTILE = {
    "paths": {RECIPE_KEY: json.dumps(dict.fromkeys(PATH_FIELDS, "\\\\evil\\share"))},
    "groups": {RECIPE_KEY: json.dumps({"data": {"train_data_dir": "\\\\evil\\share"}, "network": 3})},
    "types": {RECIPE_KEY: json.dumps({"network_dim": {"a": 1}, "seed": [1], "output_name": None, "unet_lr": "1e9999"})},
    "infinite": {RECIPE_KEY: '{"learning_rate": Infinity, "unet_lr": NaN, "network_dim": 1e400, "seed": -1}'},
    "huge text": {RECIPE_KEY: json.dumps({"training_comment": "x" * 100_000, "network_dim": 4})},
    "huge recipe": {RECIPE_KEY: '{"training_comment": "' + "x" * 2_000_000 + '"}', "ss_network_dim": "4"},
    "huge number": {RECIPE_KEY: '{"seed": ' + "9" * 4000 + "}", "ss_seed": "9" * 4000, "ss_network_dim": "1e300"},
    "deep": {RECIPE_KEY: "[" * 100_000, "ss_network_args": "{" * 100_000, "ss_datasets": '[{"a":' * 50_000},
    "not objects": {RECIPE_KEY: "[]", "train_lora_folders": "7", "ss_network_args": "[1]", "ss_datasets": '[["x"]]'},
    "code": {"ss_optimizer": "torch.optim.adamw.AdamW(a=__import__('os').system('x'))"},
    "stars": {"ss_optimizer": "AdamW(**{'a': 1}, *[2])"},
    "nested": {"ss_optimizer": "AdamW(a=" + "(" * 400 + ")"},
    "unbalanced": {"ss_optimizer": "AdamW(a=1))(b"},
    "long": {"ss_optimizer": "AdamW(" + "a=1," * 10_000},
    "markup": {"ss_output_name": "<img src=x onerror=alert(1)>", "ss_lr_scheduler": "<script>" * 100},
    "wrong kinds": {"ss_seed": None, "ss_unet_lr": [1], "ss_network_args": 5, "ss_datasets": {}, 7: "x", "ss_v2": {}},
    "list of rates": {"ss_text_encoder_lr": "[1e-5, 2e-5]", "ss_unet_lr": "[1e-4, 1e-4]"},
    "resolution": {"ss_resolution": "(1, 2, 3)", "ss_max_train_steps": "0", "ss_network_dim": "-4"},
}  # fmt: skip


@pytest.mark.parametrize("given_", HOSTILE.values(), ids=HOSTILE)
def test_hostile_metadata_gives_valid_settings_or_none(given_):
    found = recipe_of(given_)
    from_mapping(found.settings)
    assert not set(found.settings) & set(PATH_FIELDS)
    assert all(len(line) < 150 for line in found.not_carried)


def test_what_hostile_metadata_loses_is_said():
    assert recipe_of(HOSTILE["types"]).settings == {} and len(recipe_of(HOSTILE["types"]).not_carried) == 4
    assert recipe_of(HOSTILE["huge text"]).settings == {"network_dim": 4}
    assert recipe_of(HOSTILE["huge recipe"]).not_carried[0].startswith(RECIPE_KEY)
    code = recipe_of(HOSTILE["code"])
    assert code.settings["optimizer_type"] == "AdamW" and code.settings["optimizer_args"] == ""
    assert len(code.not_carried) == 1
    rates = recipe_of(HOSTILE["list of rates"])
    assert rates.settings["unet_lr"] == 1e-4 and rates.not_carried == ["text_encoder_lr = [1e-5, 2e-5]"]


_values = st.one_of(
    st.text(max_size=20), st.sampled_from(["None", "True", "1e-4", "(1,2)", "{}", "nan", "inf", "1_0", "٣"])
)
_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
)
_names = st.sampled_from(
    [f"ss_{name}" for name in (*group_of(), "optimizer", "network_args", "datasets", "network_module")]
)


@patient
@given(st.dictionaries(_names, _values), st.dictionaries(st.sampled_from(list(group_of())), _json))
def test_any_metadata_is_read(entries, recipe):
    for given_ in (entries, {**entries, RECIPE_KEY: json.dumps(recipe)}):
        found = recipe_of(given_)
        from_mapping(found.settings)
        json.dumps(found.settings, allow_nan=False)
