"""Each option of the network changes what it should: layers and their forms, rates, what sits out, what is saved."""

from __future__ import annotations

import msgspec
import pytest
import torch
from engine_stage import lent
from safetensors.torch import save_file
from test_adapters_build import full

from lib_lora_train.adapters.adapter_set import AdapterSet
from lib_lora_train.adapters.build import build, from_tensors
from lib_lora_train.adapters.plan import plan
from lib_lora_train.adapters.portions import portions
from lib_lora_train.errors import SettingsError
from lib_lora_train.export.network import network as metadata
from lib_lora_train.families.outline import outline_of
from lib_lora_train.settings import sd_network
from lib_lora_train.settings.load import from_mapping, to_mapping
from lib_lora_train.settings.options_network import NetworkSettings
from lib_lora_train.settings.shown import WHEN, acts

BLOCKS = ",".join(str(i % 3) for i in range(25))
FORMS = {  # option: a value that changes which layers learn or how they are made, with what it needs
    "network_type": ("LoHa", {}),
    "network_dim": (9, {}),
    "network_alpha": (3.0, {}),
    "conv_dim": (5, {"network_type": "LoCon"}),
    "conv_alpha": (5.0, {"network_type": "LoKr", "network_dim": 1, "conv_dim": 1}),
    "train_unet": (False, {}),
    "train_text_encoder": (False, {}),
    "weight_decompose": (True, {}),
    "use_tucker": (True, {"network_type": "LoCon"}),
    "factor": (4, {"network_type": "LoKr"}),
    "decompose_both": (True, {"network_type": "LoKr", "network_dim": 2}),
    "full_matrix": (True, {"network_type": "LoKr", "network_dim": 1}),
    "dylora_unit": (2, {"network_type": "DyLoRA"}),
    "constraint": (0.01, {"network_type": "OFT"}),
    "network_preset": ("full", {}),
    "train_self_attention": (False, {}),
    "train_cross_attention": (False, {}),
    "train_feed_forward": (False, {}),
    "train_projections": (False, {}),
    "train_norm": (True, {}),
    "block_dims": (BLOCKS, {}),
    "block_alphas": (BLOCKS, {}),
    "conv_block_dims": (BLOCKS, {"network_type": "LoCon"}),
    "conv_block_alphas": (BLOCKS, {"network_type": "LoCon"}),
    "block_lr_zero_threshold": (0.5, {"down_lr_weight": "linear"}),
}
RATES = {
    "block_lr_weight": ("style", {}),
    "down_lr_weight": ("sine", {}),
    "mid_lr_weight": ("0.5", {}),
    "up_lr_weight": ("linear+0.1", {}),
    "loraplus_lr_ratio": (4.0, {}),
    "loraplus_unet_lr_ratio": (4.0, {}),
    "loraplus_text_encoder_lr_ratio": (4.0, {}),
}
ELSEWHERE = {  # held in test_adapters_training and test_adapters_load
    "network_weights", "dim_from_weights", "network_dropout", "rank_dropout", "module_dropout", "scale_weight_norms",
}  # fmt: skip


@pytest.fixture(scope="module")
def loan(tiny_checkpoint, tmp_path_factory):
    with lent(tiny_checkpoint, tmp_path_factory.mktemp("loan")) as loan:
        yield loan


def test_no_option_is_forgotten():
    assert FORMS.keys() | RATES.keys() | ELSEWHERE == set(NetworkSettings.__struct_fields__)


@pytest.mark.parametrize("option", FORMS)
def test_options_change_what_the_network_is(option):
    value, needs = FORMS[option]
    outline = outline_of(full("sd15"))
    before, after = (plan(outline, NetworkSettings(**needs, **more)) for more in ({}, {option: value}))
    assert [(p.place.key, p.form) for p in before] != [(p.place.key, p.form) for p in after]
    values = to_mapping(from_mapping({**needs, option: value}))
    assert acts(option, values)


@pytest.mark.parametrize("option", [name for name in FORMS if "network_type" in WHEN.get(name, {})])
def test_options_do_nothing_where_the_form_says_so(option):
    outline, needs = outline_of(full("sd15")), {**FORMS[option][1]}
    idle = [kind for kind in ("LoRA", "IA3", "full", "GLoRA") if kind not in WHEN[option]["network_type"]]
    for kind in idle:
        changes = ({}, {option: FORMS[option][0]})
        before, after = (plan(outline, NetworkSettings(**{**needs, "network_type": kind, **more})) for more in changes)
        assert [(p.place.key, p.form) for p in before] == [(p.place.key, p.form) for p in after], kind


@pytest.mark.parametrize("option", RATES)
def test_options_change_rates(loan, option):
    value, needs = RATES[option]
    found = []
    for more in ({}, {option: value}):
        network = NetworkSettings(network_dim=1, **needs, **more)
        rates = portions(build(loan, network, 1), network)
        found.append({(p.name, round(p.factor, 6)): len(p.parameters) for p in rates})
    assert found[0] != found[1]


def test_dropout_options_reach_the_adapters(loan):
    network = NetworkSettings(network_dropout=0.1, rank_dropout=0.2, module_dropout=0.3)
    made = build(loan, network, 1)
    for adapters in (made, from_tensors(loan, made.state_dict(), network)):
        assert isinstance(adapters, AdapterSet)
        assert (adapters._shares.neurons, adapters._shares.ranks, adapters._shares.modules) == (0.1, 0.2, 0.3)


def test_the_files_own_parts_must_be_those_that_are_trained(loan):
    tensors = build(loan, NetworkSettings(network_dim=1), 1).state_dict()
    with pytest.raises(SettingsError, match="also holds the text encoder"):
        from_tensors(loan, tensors, NetworkSettings(train_text_encoder=False))


@pytest.mark.parametrize("option", [*FORMS, *RATES, *sorted(ELSEWHERE - {"network_weights", "dim_from_weights"})])
def test_what_other_programs_are_told_is_read_back(option):
    """Metadata in sd-scripts' and LyCORIS' names, through the reading of their files."""
    value, needs = {**FORMS, **RATES}.get(option, (0.25, {}))
    network = NetworkSettings(**{**needs, option: value})
    told = metadata(network)
    args = msgspec.json.decode(told.get("network_args", "{}"))
    options = {k: str(v) for k, v in told.items() if k in ("network_dim", "network_alpha", "network_dropout")}
    found, lost = sd_network.read(told["network_module"], args, options)
    if option in found:
        assert found[option] == value or (option == "network_type" and value in ("LoRA", "LoCon"))
    else:  # said by an entry of its own, or only in our own recipe
        own = ("train_", "network_dim", "network_alpha", "network_dropout", "scale_weight_norms", "network_preset")
        assert option.startswith(own), (option, found)
    assert not [name for name in lost if "wd_on_output" not in name], lost


def test_fresh_numbers_do_not_depend_on_dropouts(loan):
    plain = build(loan, NetworkSettings(network_dim=2), 3).state_dict()
    dropped = build(loan, NetworkSettings(network_dim=2, network_dropout=0.5, scale_weight_norms=1), 3).state_dict()
    assert all(torch.equal(plain[key], tensor) for key, tensor in dropped.items())


def test_the_estimate_of_a_run_with_the_files_ranks_is_the_files_size(loan, tmp_path):
    from app_stage import StageHost, pictures, recipe

    from lib_lora_train.app.check import check
    from lib_lora_train.app.datasets import DataSets

    tensors = build(loan, NetworkSettings(network_type="full"), 1).state_dict(torch.float16)
    host, folder = StageHost(tmp_path), pictures(tmp_path / "set")
    path = host.lora_dir() / "before.safetensors"
    save_file(tensors, path)
    for own, wanted in ((False, 0.0), (True, path.stat().st_size / 1e6)):
        settings = recipe(folder, network_weights="before.safetensors", dim_from_weights=own, network_dim=1)
        found = check(settings, host, DataSets())["estimate"]["file_mb"]
        assert (found == pytest.approx(wanted, abs=0.15)) == own
