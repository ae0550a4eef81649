"""Draws do not depend on batch, order or process; weights stay finite where the reference's do not."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib_lora_train.data.types import SampleKey
from lib_lora_train.errors import SettingsError
from lib_lora_train.objectives import schedule, weightings
from lib_lora_train.objectives.draws import Wanted, draw
from lib_lora_train.objectives.objective import Objective, objective_of
from lib_lora_train.settings.schema import LossSettings

SHAPE = (4, 3, 5)
KEYS = [SampleKey(e, i, r) for e in range(2) for i in range(3) for r in range(2)]


@given(st.permutations(KEYS), st.integers(1, len(KEYS)))
def test_a_samples_draws_are_its_own(order, size):
    alone = {k: draw(7, [k], SHAPE, 1000) for k in KEYS}
    for start in range(0, len(order), size):
        keys = order[start : start + size]
        together = draw(7, keys, SHAPE, 1000)
        for row, key in enumerate(keys):
            assert torch.equal(together.noise[row], alone[key].noise[0])
            assert torch.equal(together.offsets[row], alone[key].offsets[0])
            assert together.timesteps[row] == alone[key].timesteps[0]


ALL = Wanted(first=0, last=1000, levels=6, discount=0.3, perturbation=True)
ON = {  # each switch of the loss with a value that must show
    "noise_offset": 0.1,
    "adaptive_noise_scale": 0.5,
    "multires_noise_iterations": 4,
    "ip_noise_gamma": 0.1,
    "min_timestep": 900,
    "max_timestep": 100,
    "timestep_sampling": "sigmoid",
    "min_snr_gamma": 1.0,
    "loss_type": "l1",
    "debiased_estimation_loss": True,
    "v_pred_like_loss": 0.5,
    "v_parameterization": "yes",
    "zero_terminal_snr": "yes",
}
AMONG = {  # switches that act only beside others
    "noise_offset_random_strength": (True, {"noise_offset": 0.1}),
    "ip_noise_gamma_random_strength": (True, {"ip_noise_gamma": 0.1}),
    "multires_noise_discount": (0.8, {"multires_noise_iterations": 4}),
    "sigmoid_scale": (3.0, {"timestep_sampling": "sigmoid"}),
    "logit_mean": (1.0, {"timestep_sampling": "logit_normal"}),
    "logit_std": (0.3, {"timestep_sampling": "logit_normal"}),
    "mode_scale": (-0.5, {"timestep_sampling": "mode"}),
    "discrete_flow_shift": (3.0, {"timestep_sampling": "shift"}),
    "huber_schedule": ("constant", {"loss_type": "huber"}),
    "huber_c": (0.5, {"loss_type": "huber"}),
    "huber_scale": (2.0, {"loss_type": "huber"}),
    "scale_v_pred_loss_like_noise_pred": (True, {"v_parameterization": "yes"}),
    "snr_rule": ("sd-scripts", {"zero_terminal_snr": "yes", "debiased_estimation_loss": True}),
}


def test_a_samples_other_draws_are_its_own_too():
    names = ("strengths", "coarse", "perturbation", "perturbation_strengths")
    together = draw(7, KEYS, SHAPE, ALL)
    for row, key in enumerate(KEYS):
        alone = draw(7, [key], SHAPE, ALL)
        assert all(torch.equal(getattr(together, name)[row], getattr(alone, name)[0]) for name in names)


def test_switching_one_draw_on_leaves_the_others_as_they_were():
    plain, more = draw(7, KEYS, SHAPE, 1000), draw(7, KEYS, SHAPE, ALL)
    assert all(torch.equal(getattr(plain, n), getattr(more, n)) for n in ("noise", "timesteps", "offsets", "strengths"))


def _losses(values):
    """What the settings make of four samples, with a model that predicts half of what it sees."""
    objective = objective_of(_Loan(schedule.scaled_linear()), LossSettings(**{"min_snr_gamma": 0.0, **values}))
    latents = 0.5 + torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    draws = objective.draw(5, KEYS[:4], (4, 8, 8))
    noisy, target = objective.noised(latents, draws)
    return objective.losses(noisy / 2, target, draws.timesteps)


@pytest.mark.parametrize("name", sorted(set(ON) | set(AMONG)))
def test_every_option_of_the_loss_acts(name):
    value, beside = AMONG.get(name) or (ON[name], {})
    before, after = _losses(beside), _losses({**beside, name: value})
    assert torch.isfinite(after).all() and not torch.allclose(before, after, rtol=1e-4)


def test_all_options_of_the_loss_are_tested():
    """The prior's weight is the data room's (test_data_loader)."""
    assert set(ON) | set(AMONG) | {"prior_loss_weight"} == set(LossSettings.__struct_fields__)


def test_samples_with_coarse_noise_have_deviation_one():
    objective = Objective(schedule.scaled_linear(), multires_noise_iterations=8, multires_noise_discount=0.9)
    draws = objective.draw(1, KEYS, (4, 16, 12))
    _, noise = objective.noised(torch.zeros(len(KEYS), 4, 16, 12), draws)
    torch.testing.assert_close(noise.std(dim=(1, 2, 3)), torch.ones(len(KEYS)))


@pytest.mark.parametrize(
    ("values", "prediction"),
    [
        ({"scale_v_pred_loss_like_noise_pred": True}, "epsilon"),
        ({"v_pred_like_loss": 0.1}, "v_prediction"),
        ({"min_timestep": 500, "max_timestep": 400}, "epsilon"),
    ],
)
def test_what_the_loaded_checkpoint_cannot_do_is_refused(values, prediction):
    with pytest.raises(SettingsError) as caught:
        objective_of(_Loan(schedule.scaled_linear(), prediction), LossSettings(**values))
    assert caught.value.field == next(iter(values))


def test_every_part_of_the_key_and_the_seed_matter():
    draws = [draw(s, [k], SHAPE, 1000).noise for s in (1, 2) for k in KEYS]
    assert all(not torch.equal(a, b) for i, a in enumerate(draws) for b in draws[:i])


def test_purposes_are_independent_and_global_state_is_untouched():
    before = torch.random.get_rng_state()
    one = draw(3, KEYS[:1], (4, 1, 1), 1000)
    assert not torch.equal(one.noise, one.offsets)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_same_in_another_process():
    program = (
        "from lib_lora_train.objectives.draws import draw; from lib_lora_train.data.types import SampleKey;"
        "d = draw(5, [SampleKey(1, 2, 3)], (4, 3, 5), 1000); print(d.noise.flatten().tolist(), d.timesteps.item())"
    )
    here = draw(5, [SampleKey(1, 2, 3)], SHAPE, 1000)
    there = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
    assert there == f"{here.noise.flatten().tolist()} {here.timesteps.item()}"


def test_noise_is_standard_normal_and_timesteps_cover_the_schedule():
    keys = [SampleKey(0, i, 0) for i in range(600)]
    draws = draw(0, keys, (4, 4, 4), 10)
    assert abs(draws.noise.mean()) < 0.02 and abs(draws.noise.std() - 1) < 0.02
    assert set(draws.timesteps.tolist()) == set(range(10))


@given(st.floats(0.1, 20), st.sampled_from(["epsilon", "v_prediction"]))
def test_weights_are_finite_at_zero_terminal_snr(gamma, prediction):
    snr = schedule.snr(schedule.zero_terminal(schedule.scaled_linear()))
    assert snr[-1] == 0
    weights = weightings.MIN_SNR[prediction](snr, gamma)
    assert torch.isfinite(weights).all() and (weights >= 0).all() and (weights <= 1).all()
    others = (weightings.DEBIASED[prediction](snr), weightings.v_like(snr, gamma), weightings.noise_like_v(snr))
    assert all(torch.isfinite(other).all() and (other >= 0).all() for other in others)


def test_zero_terminal_keeps_the_first_and_is_idempotent():
    plain = schedule.scaled_linear()
    fixed = schedule.zero_terminal(plain)
    assert fixed[-1] == 0 and torch.isclose(fixed[0], plain[0])
    assert (fixed.diff() < 0).all()
    torch.testing.assert_close(schedule.zero_terminal(fixed), fixed, rtol=1e-6, atol=0)


class _Loan:
    def __init__(self, alphas, prediction="epsilon", zero=False):
        self.alphas_cumprod, self.prediction, self.zero_terminal_snr = alphas, prediction, zero
        self.device = torch.device("cpu")


def test_auto_follows_the_loan_and_the_user_overrides():
    plain = schedule.scaled_linear()
    auto = objective_of(_Loan(plain, "v_prediction", True), LossSettings())
    assert auto.prediction == "v_prediction" and schedule.is_zero_terminal(auto.alphas_cumprod)
    mine = objective_of(
        _Loan(plain, "v_prediction", True), LossSettings(v_parameterization="no", zero_terminal_snr="no")
    )
    assert mine.prediction == "epsilon" and torch.equal(mine.alphas_cumprod, plain)
    assert objective_of(_Loan(plain), LossSettings(v_parameterization="yes")).prediction == "v_prediction"


def test_a_rescaled_schedule_cannot_be_switched_off_silently():
    with pytest.raises(SettingsError) as caught:
        objective_of(_Loan(schedule.zero_terminal(schedule.scaled_linear())), LossSettings(zero_terminal_snr="no"))
    assert caught.value.field == "zero_terminal_snr"


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_predicting_the_target_costs_nothing_and_recovers_the_latents(prediction):
    """Two routes: from the target and x_t back to x_0."""
    objective = Objective(schedule.scaled_linear(), prediction)
    latents = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(1))
    draws = draw(0, [SampleKey(0, i, 0) for i in range(3)], SHAPE, objective.timesteps)
    noisy, target = objective.noised(latents, draws)
    kept = objective.alphas_cumprod[draws.timesteps].view(-1, 1, 1, 1)
    back = {
        "epsilon": (noisy - (1 - kept).sqrt() * target) / kept.sqrt(),
        "v_prediction": kept.sqrt() * noisy - (1 - kept).sqrt() * target,
    }[prediction]
    torch.testing.assert_close(back, latents, rtol=1e-4, atol=1e-4)
    assert objective.losses(target, target, draws.timesteps).eq(0).all()
