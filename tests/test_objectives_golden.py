"""Noise, targets, losses and weights against the reference numbers of golden 01_loss_noise."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lib_lora_train.objectives import losses, schedule, targets, weightings
from lib_lora_train.objectives.objective import Objective

GOLDEN = Path(os.environ.get("GOLDEN_DIR") or Path(__file__).parent / "golden")
pytestmark = pytest.mark.golden


@pytest.fixture(scope="module")
def facts():
    return json.loads((GOLDEN / "01_loss_noise.json").read_text())


@pytest.fixture(scope="module")
def tensors():
    return load_file(GOLDEN / "01_loss_noise.safetensors")


def near(actual, expected, rtol=1e-5, atol=1e-6):
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=atol)


def test_sd_schedule_and_snr(tensors):
    near(schedule.scaled_linear(), tensors["sd/alphas_cumprod"])
    near(schedule.snr(tensors["sd/alphas_cumprod"]), tensors["sd/all_snr"], rtol=1e-4)


def test_another_schedule(tensors):
    alphas = schedule.scaled_linear(0.001, 0.02, 200)
    near(alphas, tensors["alt/alphas_cumprod"])
    near(schedule.zero_terminal(alphas), tensors["alt/ztsnr_alphas_cumprod"])


def test_zero_terminal(tensors):
    fixed = schedule.zero_terminal(tensors["sd/alphas_cumprod"])
    near(fixed, tensors["ztsnr/alphas_cumprod"])
    near(schedule.snr(fixed)[1:], tensors["ztsnr/all_snr_if_computed_after_the_fix"][1:], rtol=1e-3)


@pytest.mark.parametrize("fix", ["", "_ztsnr"])
def test_noising_and_velocity(tensors, fix):
    alphas = tensors["ztsnr/alphas_cumprod" if fix else "sd/alphas_cumprod"]
    arguments = (alphas, tensors["velocity/latents"], tensors["velocity/noise"], tensors["velocity/timesteps"])
    near(targets.add_noise(*arguments), tensors[f"velocity/add_noise{fix}"])
    near(targets.velocity(*arguments), tensors[f"velocity/get_velocity{fix}"])


@pytest.mark.parametrize("index", [0, 1])
def test_noise_offset(facts, tensors, index):
    case = facts["noise_offset"]["cases"][index]
    prefix = f"noise_offset/{index}/"
    if case["adaptive_noise_scale"] is None:
        out = targets.with_offset(tensors[prefix + "noise"], tensors[prefix + "draw"], case["noise_offset"])
        near(out, tensors[prefix + "out"])


def test_noise_pipeline_with_offset(facts, tensors):
    for index, names in {0: ("draw0", None, "draw1"), 1: ("draw0", "draw1", "draw2")}.items():
        case, prefix = facts["noise_pipeline"]["cases"][index], f"noise_pipeline/{index}/"
        noise, offset, timesteps = (tensors[prefix + n] if n else torch.zeros(3, 4, 1, 1) for n in names)
        noise = targets.with_offset(noise, offset, case["args"]["noise_offset"] or 0.0)
        near(noise, tensors[prefix + "noise"])
        noisy = targets.add_noise(tensors["sd/alphas_cumprod"], tensors[prefix + "latents"], noise, timesteps)
        near(noisy, tensors[prefix + "noisy_latents"])


def test_min_snr_weights(facts, tensors):
    timesteps = torch.tensor(facts["weighting"]["timesteps"])
    snr = tensors["sd/all_snr"][timesteps]
    for case in facts["weighting"]["cases"]:
        if case["function"] == "apply_snr_weight":
            kind = "v_prediction" if case["v_prediction"] else "epsilon"
            near(weightings.MIN_SNR[kind](snr, case["gamma"]), torch.tensor(case["weight"]))


def test_gamma_zero_is_off(facts, tensors):
    case = facts["weighting"]["post_process_loss"][2]
    assert case["args"]["min_snr_gamma"] == 0
    near(torch.tensor(case["loss_out"]), torch.tensor(facts["weighting"]["loss_in"]))
    plain = Objective(tensors["sd/alphas_cumprod"], min_snr_gamma=0.0)
    errors, timesteps = torch.randn(19, 4, 2, 2, generator=torch.Generator().manual_seed(0)), torch.arange(19)
    near(plain.losses(errors, torch.zeros_like(errors), timesteps), losses.mse(errors, torch.zeros_like(errors)))


@pytest.mark.parametrize("index", [0, 1, 5])
def test_batch_loss(facts, tensors, index):
    case, prefix = facts["batch_loss"]["cases"][index], f"batch_loss/{index}/"
    gamma = case["args"]["min_snr_gamma"] or 0.0
    objective = Objective(tensors["sd/alphas_cumprod"], "epsilon", gamma)
    each = objective.losses(tensors[prefix + "pred"], tensors[prefix + "target"], tensors[prefix + "timesteps"])
    near((each * tensors[prefix + "loss_weights"]).mean(), tensors[prefix + "loss"])
