"""Ranks, alphas and rates per block, groups of parameters, which layers a choice means: golden 05 and 04_lycoris."""

from __future__ import annotations

import math

import golden_data
import pytest
from test_adapters_build import full

from lib_lora_train.adapters import blocks
from lib_lora_train.adapters.blocks import block_of, layout
from lib_lora_train.adapters.build import build
from lib_lora_train.adapters.plan import plan, rates
from lib_lora_train.adapters.portions import portions
from lib_lora_train.errors import SettingsError
from lib_lora_train.families.outline import outline_of
from lib_lora_train.settings.options_network import NetworkSettings

GOLDEN = golden_data.facts("05_block_weights")
LYCORIS = golden_data.facts("04_lycoris_modules")


@pytest.mark.golden
@pytest.mark.parametrize("model", ["sd15", "sdxl"])
def test_modules_lie_in_the_references_blocks(model):
    for key, block, _ in GOLDEN["block_index"][model]["rows"]:
        assert (blocks.BASE if block_of(key) in (None, blocks.BASE) else block_of(key)) == block, key


def listed(found, sdxl):
    return [found.get(block, 1.0) for block in range(23 if sdxl else 25)]


WRONG = ("mid_lr_weight 1,2", "unknown")


@pytest.mark.golden
@pytest.mark.parametrize("case", GOLDEN["block_lr_weights"], ids=lambda c: str(c["network_args"]))
def test_rates_per_block_are_the_references(case):
    """Except that lists of a wrong length are refused instead of filled up or cut, and that one number is for all."""
    args = dict(case["network_args"])
    network = NetworkSettings(**{k: float(v) if "threshold" in k else v for k, v in args.items()})
    parts = {"down_lr_weight": (12, 9), "mid_lr_weight": (1, 3), "up_lr_weight": (12, 9)}
    counts = {k: len(v.split(",")) for k, v in args.items() if k in parts and v[0] in "-.,0123456789"}
    if any(count not in (1, parts[k][case["sdxl"]]) for k, count in counts.items()) or "unknown" in args.values():
        with pytest.raises(SettingsError) as refused:
            rates(network, case["sdxl"])
        assert refused.value.field in args and refused.value.remedy
    elif 1 in counts.values() and (case["sdxl"] or "mid_lr_weight" not in counts):
        field = next(k for k, count in counts.items() if count == 1)
        where = {"down_lr_weight": layout(case["sdxl"]).down, "mid_lr_weight": layout(case["sdxl"]).mid}[field]
        assert {rates(network, case["sdxl"])[block] for block in where} == {float(args[field])}
    else:
        assert listed(rates(network, case["sdxl"]), case["sdxl"]) == pytest.approx(case["result"] or [1.0] * 25)


@pytest.mark.golden
@pytest.mark.parametrize("case", GOLDEN["block_dims_and_alphas"], ids=lambda c: f"{c['arguments']}"[:90])
def test_ranks_and_alphas_per_block_are_the_references(case):
    """Except that alphas of convolutions count without ranks of convolutions too."""
    said, sdxl = case["arguments"], case["sdxl"]
    network = NetworkSettings(
        network_type="LoCon",
        network_dim=said["network_dim"],
        network_alpha=said["network_alpha"],
        conv_dim=said["conv_dim"] or 1,
        conv_alpha=said["conv_alpha"] or 1.0,
        **{k: said[k] or "" for k in ("block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas")},
    )
    outline = outline_of(full("sdxl" if sdxl else "sd15"))
    if "raises" in case:
        with pytest.raises(SettingsError) as refused:
            plan(outline, network)
        assert refused.value.field in ("block_dims", "block_alphas") and refused.value.remedy
        return
    wanted = case["result"]
    for one in plan(outline, network):
        block = block_of(one.place.key)
        if block == blocks.BASE or (one.place.wide and wanted["conv_block_dims"] is None):
            continue
        prefix = "conv_" if one.place.wide else ""
        assert one.form.rank == wanted[f"{prefix}block_dims"][block]
        if not (one.place.wide and said["conv_block_alphas"] and not said["conv_block_dims"]):
            assert one.form.alpha == (wanted[f"{prefix}block_alphas"][block] or one.form.rank)  # 0 means the rank
    there = {block_of(one.place.key) for one in plan(outline, network)}
    assert not {block for block, rank in enumerate(wanted["block_dims"]) if rank == 0} & there - {0, 3, 6, 9}


@pytest.mark.golden
@pytest.mark.parametrize("case", GOLDEN["optimizer_groups"], ids=lambda c: f"{c['model']} {c['network_args']}"[:70])
def test_groups_of_parameters_are_the_references(case):
    """Except that blocks without a rate have no modules here, instead of some that stay zero."""
    args = {k: float(v) if "ratio" in k else v for k, v in case["network_args"].items()}
    adapters = build(full(case["model"]), NetworkSettings(network_dim=1, **args), seed=1)
    rate = {"text_encoder": case["text_encoder_lr"], "unet": case["unet_lr"]}
    rate = {part: case["learning_rate"] if own is None else own for part, own in rate.items()}
    ours = {
        p.name.replace("text_encoder", "textencoder"): (p.factor * (rate[p.part] or 0), len(p.parameters))
        for p in portions(adapters, NetworkSettings(network_dim=1, **args))
    }
    ours = {name: found for name, found in ours.items() if found[0] > 0}
    wanted = {group["description"]: (group["lr"], group["tensors"]) for group in case["groups"]}
    assert ours.keys() == wanted.keys()
    for name, (lr, tensors) in wanted.items():
        assert ours[name] == (pytest.approx(lr), tensors)


PRESETS = {"unet-only": "full", "unet-transformer-only": "attn-mlp", "unet-convblock-only": "convblock-only"}


@pytest.mark.golden
@pytest.mark.parametrize(
    "case", [c for c in LYCORIS["module_names_by_preset"] if c["preset"] != "ia3"], ids=lambda c: c["preset"]
)
def test_choices_of_layers_are_lycoris_presets(case):
    preset = case["preset"]
    network = NetworkSettings(
        network_type="LoCon",
        network_preset=PRESETS.get(preset, preset),
        train_text_encoder=not preset.startswith("unet"),
    )
    found = {one.place.key for one in plan(outline_of(full("sd15")), network)}
    assert found == set(case["module_names"])


@pytest.mark.golden
@pytest.mark.parametrize("case", LYCORIS["networks"], ids=lambda c: str(c["network_args"]))
def test_tensors_of_lycoris_networks_have_its_names_and_shapes(case):
    args = case["network_args"]
    kinds = {"locon": "LoCon", "loha": "LoHa", "lokr": "LoKr", "dylora": "DyLoRA"}
    network = NetworkSettings(
        network_type=kinds[args["algo"]],
        network_preset="full",
        network_dim=8,
        network_alpha=4,
        conv_dim=int(args.get("conv_dim", 8)),
        conv_alpha=float(args.get("conv_alpha", 4)),
        factor=int(args.get("factor", -1)),
        dylora_unit=int(args.get("block_size", 4)),
    )
    ours = {one.place.key: one.form for one in plan(outline_of(full("sd15")), network)}
    assert ours.keys() == {name for name, _ in case["modules"]}
    numbers = sum(math.prod(shape) for form in ours.values() for shape in form.shapes.values())
    assert numbers == case["parameters"]  # what the file's size is estimated from
    for name, tensors in case["modules"]:
        shapes = {k: tuple(shape) for k, shape in tensors.items() if k != "alpha"}
        trim = lambda shape: shape[:2] if shape[2:] == (1, 1) else shape  # noqa: E731
        assert {k: trim(s) for k, s in ours[name].shapes.items()} == {k: trim(s) for k, s in shapes.items()}
        if tensors["alpha"] != []:
            assert ours[name].alpha == tensors["alpha"]


@pytest.mark.golden
def test_ia3_has_lycoris_layers_in_the_unet_and_whole_attentions_in_the_text_encoder():
    found = {one.place.key for one in plan(outline_of(full("sd15")), NetworkSettings(network_type="IA3"))}
    wanted = {name for name, _ in LYCORIS["ia3_from_an_older_lycoris"]["modules"]}
    assert {key for key in found if "unet" in key} == {key for key in wanted if "unet" in key}
    assert wanted < found and len(found - wanted) == 24  # q_proj and out_proj of 12 layers


@pytest.mark.parametrize(
    ("model", "count"), [("sd15", 17), ("sd15", 25), ("sd15", 26), ("sdxl", 12), ("sdxl", 20), ("sdxl", 23)]
)
def test_every_length_of_list_reaches_every_block_with_attention(model, count):
    text = ",".join(str(i + 2) for i in range(count))
    planned = plan(outline_of(full(model)), NetworkSettings(block_dims=text, network_dim=1))
    unet = {block_of(one.place.key): one.form.rank for one in planned if one.place.part == "unet"}
    assert len(set(unet.values())) == len(unet) and 1 not in unet.values()
    text_encoder = {one.form.rank for one in planned if one.place.part == "text_encoder"}
    assert text_encoder == ({1} if count in (25, 23) else {2})  # only some lists have a BASE


@pytest.mark.parametrize("text", ["1,2", "a,b", "1" + ",1" * 24 + ",nan", "-1" + ",1" * 24, "1.5" + ",1" * 24])
def test_lists_that_do_not_fit_are_refused_by_name(text):
    with pytest.raises(SettingsError) as refused:
        plan(outline_of(full("sd15")), NetworkSettings(block_dims=text))
    assert refused.value.field == "block_dims" and refused.value.remedy


def test_lists_of_attention_blocks_are_refused_with_convolutions():
    with pytest.raises(SettingsError, match="without attention"):
        plan(outline_of(full("sd15")), NetworkSettings(network_type="LoCon", block_lr_weight=",".join("1" * 17)))


@pytest.mark.parametrize("sdxl", [False, True])
def test_presets_of_rates_mean_what_they_are_called(sdxl):
    where = layout(sdxl)
    of = {name: rates(NetworkSettings(block_lr_weight=name), sdxl) for name in blocks.PRESETS}
    assert set(of["all"].values()) == {1.0}
    assert {b for b, rate in of["in"].items() if rate} - {0} == {blocks.BASE, *where.down} - {0}
    assert {b for b, rate in of["out"].items() if rate} - {22} == {blocks.BASE, *where.up} - {22}
    assert all(of["style"][b] > of["style"][where.mid[0]] > 0 for b in where.up)
    assert all(of["concept"][b] > of["concept"][where.up[0]] > 0 for b in where.down)
    assert {b for b in where.up if of["face"][b] == 1.0} == {where.up[4], where.up[5], where.up[6]}


def test_two_ways_to_say_rates_are_refused():
    with pytest.raises(SettingsError, match="both"):
        rates(NetworkSettings(block_lr_weight="all", mid_lr_weight="0"), False)


@pytest.mark.parametrize(
    ("switch", "gone"),
    [
        ("train_self_attention", "attn1"),
        ("train_cross_attention", "attn2"),
        ("train_feed_forward", "_ff_"),
        ("train_projections", "proj_"),
    ],
)
def test_each_kind_of_layer_can_be_left_out(switch, gone):
    outline = outline_of(full("sd15"))
    every = {one.place.key for one in plan(outline, NetworkSettings(train_text_encoder=False))}
    rest = {one.place.key for one in plan(outline, NetworkSettings(train_text_encoder=False, **{switch: False}))}
    inside = {key for key in every if gone in key and not (gone == "proj_" and "_blocks_0_ff_" in key)}
    assert every - rest == inside != set()


@pytest.mark.parametrize("model", ["sd15", "sdxl"])
def test_norms_and_all_layers_have_names_and_an_order(model):
    outline = outline_of(full(model))
    planned = plan(outline, NetworkSettings(network_type="LoCon", network_preset="full", train_norm=True))
    keys = [one.place.key for one in planned]
    norms = [one for one in planned if one.form.kind == "norm"]
    assert len(keys) == len(set(keys)) and len(norms) > 60
    assert not any(key.startswith("lora_te") and "norm" in key for key in keys)
