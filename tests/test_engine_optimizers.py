"""Optimisers against golden 06, their arguments, groups and substitutes."""

from __future__ import annotations

import builtins
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from lib_lora_train.engine import optimizers
from lib_lora_train.errors import SettingsError
from lib_lora_train.settings.schema import OptimizerSettings

GOLDEN = Path(os.environ.get("GOLDEN_DIR") or Path(__file__).parent / "golden")
CPU = torch.device("cpu")
# the defaults of the package, where ours are the guide's
PRODIGY_PLAIN = "decouple=True weight_decay=0 d_coef=1.0 use_bias_correction=False betas=0.9,0.999"
RECIPES = {0: "", 1: "weight_decay=0.1 betas=.9,.99", 10: PRODIGY_PLAIN}


def settings(kind="AdamW", args="", **values):
    return OptimizerSettings(optimizer_type=kind, optimizer_args=args, **values)


def parameters(*sizes):
    return [nn.Parameter(torch.ones(size)) for size in sizes]


@pytest.mark.golden
@pytest.mark.parametrize("index", [0, 1, 10, 11])
def test_parameters_follow_the_reference(index):
    case = json.loads((GOLDEN / "06_optimizers.json").read_text())["cases"][index]
    tensors = load_file(GOLDEN / "06_optimizers.safetensors")
    args = RECIPES.get(index) if index in RECIPES else " ".join(case["optimizer_args"]) + " betas=0.9,0.999"
    rate = case["learning_rate"]
    chosen = settings(case["optimizer_type"] or "AdamW", args, learning_rate=rate, text_encoder_lr=0.0)
    params = [nn.Parameter(tensors[f"optim/param{j}_initial"].clone()) for j in range(2)]
    built = optimizers.build(chosen, {"unet": params}, CPU)
    for step, lrs in enumerate(case["last_lr_before_each_step"]):
        built.set_rates(lrs[0] / rate)
        for j, param in enumerate(params):
            noise = tensors[f"optim/noise{j}_step{step}"]
            param.grad = (0.1 * (param - tensors[f"optim/target{j}"]) + noise).detach()
        built.optimizer.step()
        if "d_after_each_step" in case:
            assert built.optimizer.param_groups[0]["d"] == pytest.approx(case["d_after_each_step"][step], rel=1e-4)
        for j, param in enumerate(params):
            expected = tensors.get(f"optim/{index}/param{j}_after_step{step}")
            if expected is not None:
                torch.testing.assert_close(param.detach(), expected, rtol=1e-4, atol=1e-6)


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
        ("weight_decay", "name=value", "pairs"),
        ("weight_decay=__import__('os').system('x')", "weight_decay", ""),
        ("betas=0.9", "refuses", "examples"),
        ("weight_decay=-1", "refuses", "examples"),
        ("lr=1", "lr", "fields of its own"),
    ],
)
def test_bad_arguments_are_named(text, message, remedy):
    with pytest.raises(SettingsError) as caught:
        optimizers.build(settings(args=text), {"unet": parameters(2)}, CPU)
    assert message in caught.value.message and remedy in caught.value.remedy
    assert caught.value.field == "optimizer_args"


def test_arguments_may_hold_spaces_inside_a_value():
    args = optimizers.parse_args(" betas=(0.9, 0.95)   weight_decay = 0.02\namsgrad=True ", torch.optim.AdamW)
    assert args == {"betas": (0.9, 0.95), "weight_decay": 0.02, "amsgrad": True}


def _without(monkeypatch, package):
    original = builtins.__import__

    def importing(name, *rest, **more):
        if name.split(".")[0] == package:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        return original(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", importing)


def test_without_bitsandbytes_adamw_stands_in_and_it_is_said(monkeypatch):
    _without(monkeypatch, "bitsandbytes")
    built = optimizers.build(settings("AdamW8bit"), {"unet": parameters(3)}, CPU)
    assert type(built.optimizer) is torch.optim.AdamW and built.kind == "AdamW"
    assert "bitsandbytes" in built.notes[0] and "AdamW is used instead" in built.notes[0]


def test_without_prodigyopt_there_is_a_clear_refusal(monkeypatch):
    _without(monkeypatch, "prodigyopt")
    with pytest.raises(SettingsError, match="prodigyopt"):
        optimizers.build(settings("Prodigy", learning_rate=1, text_encoder_lr=0), {"unet": parameters(3)}, CPU)


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
