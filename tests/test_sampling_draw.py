"""Our sampler against diffusers', and pictures from a loan: seeded, unaltered weights, long prompts, guidance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from engine_stage import lent

from lib_lora_train.objectives import schedule, targets
from lib_lora_train.objectives.objective import Objective
from lib_lora_train.sampling.draw import SampleRequest, draw
from lib_lora_train.sampling.sampler import ddim, split, trailing_timesteps

PLAIN = schedule.scaled_linear()


@pytest.fixture(scope="module")
def loan(tiny_checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("host")
    with lent(tiny_checkpoint, folder) as loan:
        yield loan


def _toy(x, timestep):
    return torch.tanh(x * 0.7 + timestep / 2000)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("alphas", [PLAIN, schedule.zero_terminal(PLAIN)], ids=["plain", "ztsnr"])
def test_ddim_equals_diffusers(prediction, alphas):
    from diffusers import DDIMScheduler

    if prediction == "epsilon" and alphas[-1] == 0:
        pytest.skip("x_0 is not defined there")
    betas = 1 - torch.cat([alphas[:1], alphas[1:] / alphas[:-1]])
    theirs = DDIMScheduler(
        trained_betas=betas.tolist(), prediction_type=prediction, timestep_spacing="trailing", clip_sample=False
    )
    theirs.alphas_cumprod = alphas
    theirs.set_timesteps(10)
    noise = torch.randn(1, 4, 3, 5, generator=torch.Generator().manual_seed(0))
    x = noise
    for timestep in theirs.timesteps:
        x = theirs.step(_toy(x, int(timestep)), timestep, x).prev_sample
    assert theirs.timesteps.tolist() == trailing_timesteps(1000, 10)
    torch.testing.assert_close(ddim(_toy, noise, alphas, prediction, 10), x, rtol=1e-4, atol=1e-4)


def test_a_perfect_model_is_followed_to_its_picture():
    """The exact noise prediction for one point leads to that point from any noise in any number of steps."""
    point = torch.linspace(-1, 1, 16).view(1, 1, 4, 4)

    def exact(x, timestep):
        kept = PLAIN[timestep]
        return (x - kept.sqrt() * point) / (1 - kept).sqrt()

    for steps in (1, 3, 20):
        noise = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(steps))
        torch.testing.assert_close(ddim(exact, noise, PLAIN, "epsilon", steps), point, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_split_inverts_noising(prediction):
    clean, noise = torch.randn(2, 1, 4, 4, 4, generator=torch.Generator().manual_seed(3))
    objective = Objective(PLAIN, prediction)
    arguments = (objective.alphas_cumprod, clean, noise, torch.tensor([500]))
    x, output = targets.add_noise(*arguments), targets.TARGETS[prediction](*arguments)
    back = split(output, x, PLAIN[500], prediction)
    torch.testing.assert_close(back[0], clean, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(back[1], noise, rtol=1e-3, atol=1e-3)


def test_more_steps_than_the_schedule_has():
    assert trailing_timesteps(4, 9) == [3, 2, 1, 0]


def _pixels(loan, **values):
    return np.asarray(draw(loan, SampleRequest(**{"prompt": "a cat", "width": 64, "height": 64, "steps": 3} | values)))


def test_pictures_depend_on_seed_prompt_and_guidance_only(loan):
    before = torch.random.get_rng_state()
    first = _pixels(loan)
    assert first.shape == (64, 64, 3) and first.std() > 0
    assert np.array_equal(first, _pixels(loan))
    assert not np.array_equal(first, _pixels(loan, seed=2))
    assert not np.array_equal(first, _pixels(loan, prompt="a dog"))
    assert not np.array_equal(first, _pixels(loan, negative="a dog"))
    assert not np.array_equal(first, _pixels(loan, cfg=1))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_without_guidance_the_negative_prompt_does_not_matter(loan):
    assert np.array_equal(_pixels(loan, cfg=1), _pixels(loan, cfg=1, negative="a dog"))


def test_long_prompts_and_odd_sizes(loan):
    assert _pixels(loan, prompt="word " * 200, width=72, height=40).shape == (40, 72, 3)


def test_nothing_of_the_loan_is_changed(loan):
    before = {k: v.clone() for m in (loan.unet, loan.vae, *loan.text_encoders) for k, v in m.state_dict().items()}
    _pixels(loan)
    after = {k: v for m in (loan.unet, loan.vae, *loan.text_encoders) for k, v in m.state_dict().items()}
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert not any(p.requires_grad for m in (loan.unet, loan.vae, *loan.text_encoders) for p in m.parameters())
