"""Optimisers against golden 06, their arguments, groups and substitutes."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from golden_data import facts, tensors
from torch import nn

from lib_lora_train.engine import optimizers, state
from lib_lora_train.engine.optimizer_kinds import KINDS
from lib_lora_train.errors import SettingsError
from lib_lora_train.export import metadata
from lib_lora_train.settings.load import from_mapping
from lib_lora_train.settings.schema import OptimizerSettings, rate_scale

CPU = torch.device("cpu")
FACTS = facts("06_optimizers")
# the reference uses the packages' own defaults where ours are the guides'
PLAIN = {
    "Prodigy": "decouple=False weight_decay=0 d_coef=1.0 use_bias_correction=False betas=0.9,0.999",
    "DAdaptAdam": "decouple=False weight_decay=0 betas=0.9,0.999",
    "AdaFactor": "warmup_init=False",
    "AdamWScheduleFree": "weight_decay=0",
}
PLAIN["Prodigy"] = PLAIN["Prodigy"].replace("decouple=False", "decouple=True")  # its own default
NAMES = {"": "AdamW", "Adafactor": "AdaFactor"}
PACKAGES = ("dadaptation", "schedulefree", "came_pytorch", "lion_pytorch", "bitsandbytes")


def _kind(case):
    return NAMES.get(case["optimizer_type"], case["optimizer_type"])


CASES = [case for case in FACTS["cases"] if _kind(case) in KINDS and "raises" not in case]


def _needs(kind):
    """Packages that are optional for users are so for these tests."""
    package = KINDS[kind].cls.partition(":")[0].partition(".")[0]
    if package in PACKAGES:
        pytest.importorskip(package)


def settings(kind="AdamW", args="", **values):
    return OptimizerSettings(optimizer_type=kind, optimizer_args=args, **values)


def parameters(*sizes):
    return [nn.Parameter(torch.ones(size)) for size in sizes]


def _arguments(case):
    given = dict(item.split("=", 1) for item in case["optimizer_args"] or [])
    plain = dict(item.split("=", 1) for item in PLAIN.get(_kind(case), "").split())
    return " ".join(f"{name}={value}" for name, value in {**plain, **given}.items())


@pytest.mark.golden
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{_kind(case)}-{case['case']}")
def test_parameters_and_rates_follow_the_reference(case):
    _needs(_kind(case))
    recorded, rate = tensors("06_optimizers"), case["learning_rate"]
    chosen = settings(_kind(case), _arguments(case), learning_rate=rate, text_encoder_lr=0.0)
    params = [nn.Parameter(recorded[f"optim/param{j}_initial"].clone()) for j in range(2)]
    built = optimizers.build(chosen, {"unet": params}, CPU)
    own_schedule = case["lr_scheduler_after_get_optimizer"].startswith("adafactor")
    for step, lrs in enumerate(case["last_lr_before_each_step"]):
        built.set_rates(lrs[0] / rate)
        if own_schedule and step:
            assert built.rates["unet"] == pytest.approx(lrs[0], rel=1e-4)
        for j, param in enumerate(params):
            noise = recorded[f"optim/noise{j}_step{step}"]
            param.grad = (0.1 * (param - recorded[f"optim/target{j}"]) + noise).detach()
        built.optimizer.step()
        if "d_after_each_step" in case:
            assert built.optimizer.param_groups[0]["d"] == pytest.approx(case["d_after_each_step"][step], rel=1e-4)
        for j, param in enumerate(params):
            expected = recorded.get(f"optim/{case['case']}/param{j}_after_step{step}")
            if expected is not None:
                torch.testing.assert_close(param.detach(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.golden
@pytest.mark.parametrize("case", FACTS["different_group_rates"], ids=lambda case: case["optimizer_type"])
def test_two_rates_are_refused_where_the_reference_fails_and_dropped_where_it_drops_them(case):
    kind = _kind(case)
    _needs(kind)
    first, second = case["group_lrs"]
    chosen = settings(kind, learning_rate=second, text_encoder_lr=first)
    parts = {"text_encoder": parameters(2), "unet": parameters(3)}
    if "raises" in case:
        with pytest.raises(SettingsError) as caught:
            optimizers.build(chosen, parts, CPU)
        assert caught.value.field == "text_encoder_lr"
    else:
        built = optimizers.build(chosen, parts, CPU)
        assert bool(built.notes) == case["args_after"]["lr_scheduler"].startswith("adafactor")


def _trained(built, params, steps=5):
    for _ in range(steps):
        for param in params:
            param.grad = 0.1 * (param.detach() - torch.linspace(1, 2, param.numel()).view_as(param))
        built.optimizer.step()
    return [param.detach().clone() for param in params]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_trains_goes_on_from_its_state_and_says_what_it_is(kind):
    _needs(kind)
    chosen = settings(kind, learning_rate=1.0 if KINDS[kind].one_rate else 1e-2, text_encoder_lr=0)

    def fresh(values):
        params = [nn.Parameter(value.clone()) for value in values]
        return optimizers.build(chosen, {"unet": params}, CPU), params

    built, params = fresh([torch.full((64, 64), 0.01), torch.full((3,), 0.01)])
    half = _trained(built, params)
    kept = state.flatten(built.optimizer.state_dict(), "optimizer")
    kept = state.State({n: t.clone() for n, t in kept.tensors.items()}, json.loads(json.dumps(kept.values)))
    whole = _trained(built, params)
    again, params = fresh(half)
    again.optimizer.load_state_dict(state.unflatten(kept, "optimizer"))
    assert all(torch.equal(a, b) for a, b in zip(_trained(again, params), whole, strict=True))
    assert not torch.equal(whole[0], half[0]) and torch.isfinite(whole[0]).all()
    cls = type(built.optimizer)
    assert built.described.startswith(f"{cls.__module__}.{cls.__qualname__}")
    assert metadata._OPTIMIZERS[built.kind] == f"{cls.__module__}.{cls.__qualname__}"


def test_schedule_free_weights_are_averaged_only_inside_the_block():
    _needs("AdamWScheduleFree")
    params = parameters(5)
    built = optimizers.build(settings("AdamWScheduleFree", learning_rate=0.1), {"unet": params}, CPU)
    before = _trained(built, params, 20)[0]
    with built.averaged():
        inside = params[0].detach().clone()
    assert not torch.allclose(inside, before) and torch.equal(params[0].detach(), before)
    built.optimizer.step()  # it is in training mode again


def test_prodigy_has_the_guides_arguments():
    built = optimizers.build(settings("Prodigy", learning_rate=1, text_encoder_lr=0), {"unet": parameters(3)}, CPU)
    group = built.optimizer.param_groups[0]
    wanted = {"decouple": True, "weight_decay": 0.01, "d_coef": 2, "use_bias_correction": True, "betas": (0.9, 0.99)}
    assert {k: group[k] for k in wanted} == wanted and group["safeguard_warmup"] is False
    assert {k: built.args[k] for k in wanted} == wanted


def test_text_encoder_comes_first_and_zero_means_the_master_rate():
    parts = {"unet": parameters(3), "text_encoder": parameters(2)}
    built = optimizers.build(settings(learning_rate=1e-3, unet_lr=0, text_encoder_lr=5e-4), parts, CPU)
    assert [(g.name, g.rate) for g in built.groups] == [("text_encoder", 5e-4), ("unet", 1e-3)]
    built.set_rates(0.5)
    assert built.rates == {"text_encoder": 2.5e-4, "unet": 5e-4}
    assert [g["lr"] for g in built.optimizer.param_groups] == [2.5e-4, 5e-4]


@pytest.mark.parametrize(("how", "factor"), [("no", 1), ("sqrt", 6**0.5), ("linear", 6)])
def test_rates_grow_with_the_samples_of_a_step(how, factor):
    chosen = from_mapping({"scale_lr": how, "train_batch_size": 2, "gradient_accumulation_steps": 3})
    parts = {"unet": parameters(3), "text_encoder": parameters(2)}
    args = settings(learning_rate=1e-3, unet_lr=0, text_encoder_lr=5e-4), parts, CPU
    grown, plain = optimizers.build(*args, rate_scale(chosen)), optimizers.build(*args)
    assert grown.rates == pytest.approx({name: rate * factor for name, rate in plain.rates.items()})


def test_a_part_with_rate_zero_is_left_out_and_said():
    parts = {"unet": parameters(3), "text_encoder": parameters(2)}
    built = optimizers.build(settings(learning_rate=0, unet_lr=1e-4, text_encoder_lr=0), parts, CPU)
    assert [g.name for g in built.groups] == ["unet"]
    assert "text_encoder" in built.notes[0]
    assert [p.requires_grad for part in ("unet", "text_encoder") for p in parts[part]] == [True, False]
    with pytest.raises(SettingsError, match="nothing would be learnt"):
        optimizers.build(settings(learning_rate=0, text_encoder_lr=0), parts, CPU)


def test_prodigy_refuses_two_rates_with_a_remedy():
    parts = {"unet": parameters(3), "text_encoder": parameters(2)}
    with pytest.raises(SettingsError) as caught:
        optimizers.build(settings("Prodigy", learning_rate=1.0, text_encoder_lr=0.5), parts, CPU)
    assert caught.value.field == "text_encoder_lr" and "master" in caught.value.remedy
    only = {"unet": parts["unet"]}  # the other part is not trained, so its rate does not matter
    assert optimizers.build(settings("Prodigy", learning_rate=1.0, text_encoder_lr=0.5), only, CPU).kind == "Prodigy"


@pytest.mark.parametrize(
    "text, message, remedy",
    [
        ("weight_decoy=0.1", "weight_decoy", "weight_decay"),
        ("weight_decoy=0.1", "no argument `weight_decoy`", "betas=(0.9, 0.999)"),
        ("zzz=1", "no argument `zzz`", "AdamW takes amsgrad=False, betas=(0.9, 0.999), "),
        ("weight_decay", "name=value", "pairs"),
        ("weight_decay=__import__('os').system('x')", "weight_decay", "weight_decay=0.01"),
        ("betas=0.9", "refuses", "betas=(0.9, 0.999)"),
        ("betas='a','b'", "refuses", "betas=(0.9, 0.999)"),
        ("weight_decay=-1", "refuses", "weight_decay"),
        ("fused=True foreach=True", "refuses", "fused=None"),
        ("lr=1", "lr", "fields of its own"),
    ],
)
def test_bad_arguments_are_named(text, message, remedy):
    with pytest.raises(SettingsError) as caught:
        optimizers.build(settings(args=text), {"unet": parameters(2)}, CPU)
    assert message in caught.value.message and remedy in caught.value.remedy
    assert caught.value.field == "optimizer_args"


def test_what_an_optimiser_reads_only_when_it_steps_is_tried_on_a_toy():
    with pytest.raises(SettingsError, match="Adafactor refuses") as caught:
        optimizers.chosen(settings("AdaFactor", args="eps=0.1"), CPU, [])
    assert "eps=(1e-30, 0.001)" in caught.value.remedy and caught.value.field == "optimizer_args"
    name, args = optimizers.chosen(settings("AdaFactor", args="eps=1e-20,0.1"), CPU, [])
    assert name == "AdaFactor" and args["eps"] == (1e-20, 0.1)


def test_arguments_may_hold_spaces_inside_a_value():
    args = optimizers.parse_args(" betas=(0.9, 0.95)   weight_decay = 0.02\namsgrad=True ", torch.optim.AdamW)
    assert args == {"betas": (0.9, 0.95), "weight_decay": 0.02, "amsgrad": True}


def _without(monkeypatch, package):
    for name in [package, *(name for name in sys.modules if name.startswith(f"{package}."))]:
        monkeypatch.setitem(sys.modules, name, None)


def test_without_bitsandbytes_adamw_stands_in_and_it_is_said(monkeypatch):
    _without(monkeypatch, "bitsandbytes")
    built = optimizers.build(settings("AdamW8bit"), {"unet": parameters(3)}, CPU)
    assert type(built.optimizer) is torch.optim.AdamW and built.kind == "AdamW"
    assert "bitsandbytes" in built.notes[0] and "AdamW is used instead" in built.notes[0]


def test_without_prodigyopt_there_is_a_clear_refusal(monkeypatch):
    _without(monkeypatch, "prodigyopt")
    with pytest.raises(SettingsError, match="prodigyopt") as caught:
        optimizers.build(settings("Prodigy", learning_rate=1, text_encoder_lr=0), {"unet": parameters(3)}, CPU)
    assert f'"{sys.executable}" -m pip install prodigyopt' in caught.value.remedy


def test_a_substitute_may_need_a_substitute_itself(monkeypatch):
    _without(monkeypatch, "bitsandbytes")
    _without(monkeypatch, "lion_pytorch")
    with pytest.raises(SettingsError, match="lion-pytorch"):
        optimizers.build(settings("Lion8bit"), {"unet": parameters(3)}, CPU)


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("DAdaptAdam", {"decouple": True, "weight_decay": 0.01, "betas": (0.9, 0.99)}),
        ("AdaFactor", {"relative_step": True, "scale_parameter": True, "warmup_init": True}),
        ("SGDNesterov", {"momentum": 0.9, "nesterov": True}),
    ],
)
def test_the_guides_arguments_are_the_defaults(kind, wanted):
    _needs(kind)
    built = optimizers.build(settings(kind, learning_rate=1, text_encoder_lr=0), {"unet": parameters(3)}, CPU)
    group = built.optimizer.param_groups[0]
    assert {name: group.get(name, built.args[name]) for name in wanted} == wanted


def test_eight_bits_step_like_adamw_or_are_replaced_with_a_note():
    """Whichever happens here, the user is told and the parameter moves as AdamW moves it."""
    moved = {}
    for kind in ("AdamW", "AdamW8bit"):
        params = [nn.Parameter(torch.zeros(64, 64))]
        built = optimizers.build(settings(kind, learning_rate=1e-2, text_encoder_lr=0), {"unet": params}, CPU)
        for _ in range(5):
            params[0].grad = 0.1 * (params[0].detach() - torch.linspace(1, 2, 4096).view(64, 64))
            built.optimizer.step()
        moved[kind] = params[0].detach()
        assert built.kind == kind or built.notes
    torch.testing.assert_close(moved["AdamW8bit"], moved["AdamW"], rtol=0.05, atol=1e-3)
