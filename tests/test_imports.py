"""Importing: whose file it is shows its content; nothing in it can do harm; route and command line give the same."""

from __future__ import annotations

import json
import pickle
from inspect import Parameter, signature

import pytest
from app_stage import StageHost
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lib_lora_train.app import cli
from lib_lora_train.app.jobs import JobRunner
from lib_lora_train.app.routes import PREFIX, add_routes
from lib_lora_train.engine import optimizers
from lib_lora_train.engine.optimizer_kinds import KINDS
from lib_lora_train.errors import SettingsError
from lib_lora_train.settings import imports, recipe, sd_optimizers
from lib_lora_train.settings.found import PATH_FIELDS
from lib_lora_train.settings.load import from_mapping, to_mapping

OWN = from_mapping({"network_dim": 5, "train_data_dir": "/a/cats", "output_name": "🐈", "optimizer_type": "AdamW"})
PLAIN = 'network_module = "networks.lora"\nnetwork_dim = 5\n'


def test_our_recipe_comes_back_without_folders():
    for text in (recipe.dumps(OWN), json.dumps(to_mapping(OWN))):
        found = imports.read("x", text)
        assert found.source == "ours" and not set(found.settings) & set(PATH_FIELDS)
        assert found.not_carried == ["train_data_dir = /a/cats: choose it on the page"]
        assert from_mapping({**found.settings, "train_data_dir": "/a/cats"}) == OWN
        assert from_mapping(imports.read("x", text, folders=True).settings) == OWN


def test_a_header_of_a_lora_is_read_as_metadata():
    header = {"__metadata__": {"ss_network_dim": "5", "ss_network_module": "networks.lora"}, "x": {"dtype": "F16"}}
    found = imports.read("x.safetensors", json.dumps(header))
    assert found.source == "other" and found.settings["network_dim"] == 5


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_of_windows(encoding):
    assert imports.read("x.toml", PLAIN.encode(encoding)).settings["network_dim"] == 5


@pytest.mark.parametrize("name", ["../../evil/x.json", "C:\\evil\\x.json", "", "x" * 1000])
def test_the_name_is_only_told(name):
    with pytest.raises(SettingsError) as caught:
        imports.read(name, "no recipe at all")
    assert "evil" not in str(caught.value) and len(str(caught.value)) < 400


HOSTILE = {
    "deep JSON": '{"a":' * 100_000,
    "deep list": "[" * 100_000,
    "deep TOML": "a = " + "[" * 5_000,
    "huge": "a" * (imports.LARGEST + 1),
    "no text": b"\xff\xfe\xfa\x00\xd8",
    "latin": "straße = 1".encode("latin-1"),
    "pickle": pickle.dumps({"a": 1}),
    "zip": b"PK\x03\x04rest",
    "open quote": 'train_network.py --output_name="x',
    "half JSON": '{"LoRA_type": "Standard"',
    "list": "[1, 2]",
    "empty": "",
    "empty table": "{}",
    "prose": "Dear friend, train this with love.",
    "newer": "recipe_version = 99\n",
    "endless number": '{"LoRA_type": "Standard", "network_dim": ' + "9" * 6000 + "}",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_recipe_is_refused_in_words(content):
    with pytest.raises(SettingsError) as caught:
        imports.read("x.json", content)
    assert caught.value.remedy and "x.json" in str(caught.value)


HARMFUL = {
    "not a number": '{"LoRA_type": "Standard", "learning_rate": NaN, "unet_lr": Infinity, "network_dim": 1e400}',
    "wrong kinds": '{"LoRA_type": [1], "optimizer_args": {"a": []}, "network_dim": {"x": 1}, "epoch": [2]}',
    "code": "train_network.py --optimizer_args \"a=__import__('os').system('x')\" --network_args algo=$(rm)",
    "paths": '{"LoRA_type": "Standard", "train_data_dir": "\\\\\\\\evil\\\\share", "network_weights": "/etc/passwd"}',
    "markup": "train_network.py --output_name=<img/src=x>",
    "subsets": '{"datasets": [{"subsets": [1, null, {"image_dir": 5}]}, 7]}',
    "tables": '{"general_args": {"args": 5, "dataset_args": []}, "subsets": {"a": 1}, "network_args": {"args": {}}}',
    "arguments": '{"network_module": "lycoris.kohya", "network_args": [1, "=", "algo", "a=b=c", null]}',
    "onetrainer": '{"training_method": [], "optimizer": [1], "unet": 4, "epochs": {}, "peft_type": {}}',
}


@pytest.mark.parametrize("content", HARMFUL.values(), ids=HARMFUL)
def test_harmful_content_gives_valid_settings_only(content):
    found = imports.read("x", content)
    from_mapping(found.settings)
    assert not set(found.settings) & set(PATH_FIELDS)
    json.dumps(found.settings, allow_nan=False)
    assert all(len(line) < 200 for line in found.not_carried)
    assert all(len(line) < 600 for line in found.translated)


_any = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=8,
)
_names = st.sampled_from(
    ["LoRA_type", "max_resolution", "epoch", "optimizer_args", "network_args", "network_module", "datasets", "general",
     "subsets", "general_args", "args", "training_method", "unet", "optimizer", "lr_warmup", "learning_rate",
     "additional_parameters", "net_dim", "img_folder", "ss_network_dim", "noise_offset_type", "network_dim"]
)  # fmt: skip


@hypothesis_settings(max_examples=150, deadline=None)
@given(st.dictionaries(_names, _any, min_size=1, max_size=6))
def test_any_table_is_read_or_refused(table):
    try:
        found = imports.read("x.json", json.dumps(table))
    except SettingsError:
        return
    from_mapping(found.settings)


@hypothesis_settings(max_examples=100, deadline=None)
@given(st.text(max_size=60))
def test_any_command_line_is_read_or_refused(text):
    try:
        found = imports.read("x.sh", "train_network.py --network_dim=4 " + text)
    except SettingsError:
        return
    from_mapping(found.settings)


def test_route_and_command_line_give_the_same(tmp_path, capsys):
    app, host = FastAPI(), StageHost(tmp_path)
    add_routes(app, host, JobRunner(host))
    answer = TestClient(app).post(f"{PREFIX}/import", json={"name": "x.toml", "text": PLAIN})
    assert answer.status_code == 200 and answer.json()["source"] == "sd-scripts"
    path = tmp_path / "x.toml"
    path.write_text(PLAIN)
    assert cli.main(["import", str(path)]) == 0
    printed = capsys.readouterr()
    assert recipe.loads(printed.out) == from_mapping(answer.json()["settings"])
    assert "translated: not said, so as sd-scripts does: " in printed.err
    refused = TestClient(app).post(f"{PREFIX}/import", json={"name": "x.toml", "text": "no"})
    assert refused.status_code == 400 and "x.toml" in refused.json()["error"]


def test_export_hands_on_without_folders(tmp_path, capsys):
    path = tmp_path / "recipe.toml"
    path.write_text(recipe.dumps(OWN), encoding="utf-8")
    assert cli.main(["export", str(path)]) == 0
    given_on = recipe.loads(capsys.readouterr().out)
    assert given_on.data.train_data_dir == "" and given_on.network.network_dim == 5
    assert cli.main(["export", str(tmp_path / "none.toml")]) == cli.EXIT_REFUSED
    path.write_text(PLAIN)
    assert cli.main(["export", str(path)]) == cli.EXIT_REFUSED


@pytest.mark.parametrize("name", KINDS)
def test_an_imported_optimiser_without_arguments_is_the_librarys_own(name):
    """Ours are the guides' arguments; what another trainer left to the library stays with it."""
    kind = KINDS[name]
    if optimizers.problem_on(name, __import__("torch").device("cpu")).startswith(f"{name} needs"):
        pytest.skip(f"{kind.package} is not installed")
    values, lost = sd_optimizers.named(name, {})
    assert values["optimizer_type"] == name and not lost
    asked = {**kind.defaults, **optimizers.parse_args(values["optimizer_args"], kind.load())}
    library = {n: p.default for n, p in signature(kind.load()).parameters.items() if p.default is not Parameter.empty}
    sd_scripts_own = {"relative_step": True, "nesterov": True, "momentum": 0.9}  # set by it where nothing is said
    for argument, value in asked.items():
        expected = sd_scripts_own.get(argument, library[argument])
        assert value == (tuple(expected) if isinstance(expected, (tuple, list)) else expected), argument
