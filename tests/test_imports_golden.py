"""The reference's own runs: what their command lines say and what their files' metadata say is the same recipe."""

from __future__ import annotations

import shlex

import pytest
from golden_data import facts

from lib_lora_train.settings import imports
from lib_lora_train.settings.found import PATH_FIELDS
from lib_lora_train.settings.from_metadata import recipe_of
from lib_lora_train.settings.load import from_mapping
from lib_lora_train.settings.schema import Settings

pytestmark = pytest.mark.golden

RUNS = facts("07_training_runs")["runs"]
# A file does not tell which parts a flag left out, and not the epochs: its steps are counted.
NOT_IN_METADATA = {"train_text_encoder", "train_unet"}


def _name(run):
    return run["name"]


def _line(run):
    return "accelerate launch train_network.py " + shlex.join(run["command_line_options"])


def _metadata(run):
    """Of its whole files; of earlier ones only the differences are recorded."""
    return [file["metadata"] for file in run["files"].values() if "metadata" in file]


@pytest.mark.parametrize("run", RUNS, ids=_name)
def test_command_line_and_metadata_tell_the_same(run):
    written = imports.read("train.sh", _line(run)).settings
    of_data = imports.read("data.toml", run["dataset_config_toml"]).settings if run["dataset_config_toml"] else {}
    for metadata in _metadata(run):
        told = recipe_of(metadata).settings
        assert told, "the file tells nothing"
        expected = {**written, **of_data}
        leave = NOT_IN_METADATA | ({"max_train_steps"} if written.get("max_train_epochs") else set())
        for field in set(told) - leave:
            assert told[field] == expected[field], field


@pytest.mark.parametrize("run", RUNS, ids=_name)
def test_every_option_is_carried_or_listed(run):
    """By its own name among the fields, under another one, or in a list for people."""
    found = imports.read("train.sh", _line(run))
    from_mapping(found.settings)
    people = " ".join(found.not_carried + found.translated)
    of_other_names = {"network_module": "network_type", "network_args": "network_type", "cache_latents": ""}
    for option in (word[2:].partition("=")[0] for word in run["command_line_options"] if word.startswith("--")):
        field = of_other_names.get(option, option)
        assert field in found.settings or option in people, option


@pytest.mark.parametrize("run", RUNS, ids=_name)
def test_folders_of_a_file_are_never_taken(run):
    for content in (_line(run), run["dataset_config_toml"]):
        if content:
            assert not set(imports.read("x", content).settings) & set(PATH_FIELDS)
    own = imports.read("x", _line(run), folders=True).settings
    assert ("train_data_dir" in own) == ("--train_data_dir" in run["command_line_options"])


def test_defaults_are_the_references():
    """Where a command line is silent, the recipe says what the reference does then (golden 07_option_defaults)."""
    options = facts("07_option_defaults")["options"]
    silent = imports.read("x.sh", "train_network.py --network_module=networks.lora").settings
    meaning = {"max_token_length": 75, "mixed_precision": "no", "save_precision": "float", "network_dim": 4,
               "clip_skip": 1, "max_timestep": 1000, "optimizer_type": "AdamW",
               "v_parameterization": "auto", "zero_terminal_snr": "auto",
               "resolution": Settings().data.resolution, "seed": Settings().training.seed}  # fmt: skip
    for name, option in options.items():
        field, default = name.removeprefix("--"), option["default"]
        if field in silent:
            value = silent[field]
            assert value == meaning.get(field, default) or (not value and not default), field
