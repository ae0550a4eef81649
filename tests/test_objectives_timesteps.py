"""Densities of timesteps: as often as their formulas say, in any range, each sample's its own."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import settings as patience
from hypothesis import strategies as st

from lib_lora_train.data.types import SampleKey
from lib_lora_train.objectives import timesteps
from lib_lora_train.objectives.objective import objective_of
from lib_lora_train.objectives.schedule import scaled_linear
from lib_lora_train.objectives.timesteps import Density
from lib_lora_train.settings.schema import LossSettings

MANY = 4000


def drawn(density, first=0, last=1000, count=MANY):
    source = torch.Generator().manual_seed(0)
    return torch.stack([timesteps.draw(density, first, last, source) for _ in range(count)])


def normal(x):
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


def logit(x):
    return math.log(x / (1 - x))


SHARES = {  # how many of the timesteps lie below x, by formula
    "uniform": (Density(), lambda x: x),
    "sigmoid": (Density("sigmoid", sigmoid_scale=1.5), lambda x: normal(logit(x) / 1.5)),
    "logit_normal": (Density("logit_normal", logit_mean=0.5, logit_std=0.8), lambda x: normal((logit(x) - 0.5) / 0.8)),
    "cosmap": (Density("cosmap"), lambda x: 2 / math.pi * math.atan(x / (1 - x))),
    "shift": (Density("shift", shift=3.0), lambda x: normal(logit(x / (3 - 2 * x)))),
}


@pytest.mark.parametrize("name", SHARES)
def test_each_amount_of_noise_comes_as_often_as_the_formula_says(name):
    density, share = SHARES[name]
    found = drawn(density)
    for x in (0.1, 0.3, 0.5, 0.7, 0.9):
        assert (found < 1000 * x).float().mean().item() == pytest.approx(share(x), abs=0.03)


def test_mode_is_symmetric_and_prefers_the_middle_or_the_ends():
    def middle(scale):
        found = drawn(Density("mode", mode_scale=scale))
        assert found.float().mean().item() == pytest.approx(500, abs=20)
        return ((found > 350) & (found < 650)).float().mean().item()

    assert middle(-0.8) < 0.27 < 0.33 < middle(1.5)


@patience(deadline=None)
@given(st.sampled_from(["uniform", *timesteps.KINDS]), st.integers(0, 999), st.integers(0, 1000), st.integers(0, 9))
def test_every_kind_keeps_within_its_range(kind, first, last, seed):
    source = torch.Generator().manual_seed(seed)
    got = timesteps.draw(Density(kind, mode_scale=1.75), first, last, source).item()
    assert first <= got <= max(first, last - 1)


@pytest.mark.parametrize("kind", timesteps.KINDS)
def test_a_samples_timestep_is_its_own_in_any_batch(kind):
    class Loan:
        alphas_cumprod, prediction, zero_terminal_snr = scaled_linear(), "epsilon", False
        device = torch.device("cpu")

    objective = objective_of(Loan(), LossSettings(timestep_sampling=kind))
    keys = [SampleKey(0, image, 0) for image in range(5)]
    together = objective.draw(1, keys, (4, 2, 2))
    assert [objective.draw(1, [key], (4, 2, 2)).timesteps.item() for key in keys] == together.timesteps.tolist()
    assert torch.equal(objective.draw(1, keys, (4, 2, 2)).noise, together.noise)
