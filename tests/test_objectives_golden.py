"""Noise, targets, losses and weights against the reference numbers of golden 01_loss_noise."""

from __future__ import annotations

import golden_data
import pytest
import torch

from lib_lora_train.data.types import SampleKey
from lib_lora_train.objectives import losses, schedule, targets, weightings
from lib_lora_train.objectives.draws import Draws
from lib_lora_train.objectives.objective import Objective, objective_of
from lib_lora_train.settings.schema import LossSettings

pytestmark = pytest.mark.golden
FACTS = golden_data.facts("01_loss_noise")


@pytest.fixture(scope="module")
def facts():
    return FACTS


@pytest.fixture(scope="module")
def tensors():
    return golden_data.tensors("01_loss_noise")


def numbered(name):
    """The cases of a chapter, for parametrising."""
    return pytest.mark.parametrize("case", FACTS[name]["cases"], ids=lambda case: str(case.get("case", "")) or None)


def chosen(args):
    """An Objective's arguments from the reference's; None there means off."""
    names = {**args, "min_timestep": args.get("min_timestep") or 0, "max_timestep": args.get("max_timestep") or 1000}
    fields = Objective.__dataclass_fields__
    return {name: fields[name].default if value is None else value for name, value in names.items() if name in fields}


def near(actual, expected, rtol=1e-5, atol=1e-6):
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=atol)


def test_sd_schedule_and_snr(tensors):
    near(schedule.scaled_linear(), tensors["sd/alphas_cumprod"])
    near(schedule.snr(tensors["sd/alphas_cumprod"]), tensors["sd/all_snr"], rtol=1e-4)


def test_another_schedule(facts, tensors):
    given = facts["schedulers"]["alt"]
    alphas = schedule.scaled_linear(given["beta_start"], given["beta_end"], given["num_train_timesteps"])
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


@numbered("noise_offset")
def test_noise_offset(tensors, case):
    prefix = f"noise_offset/{case['case']}/"
    strength = case["noise_offset"] or 0.0
    if case["adaptive_noise_scale"] is not None:
        strength = targets.adaptive_strength(strength, tensors[prefix + "latents"], case["adaptive_noise_scale"])
    draw = tensors.get(prefix + "draw", torch.zeros(1))  # none is drawn without an offset
    near(targets.with_offset(tensors[prefix + "noise"], draw, strength), tensors[prefix + "out"])


def _levels(case, tensors, prefix):
    """The normal tensors behind each `random.random`, as the reference drew them for its pyramid."""
    calls = case["draws_in_order"]
    pairs = zip(calls, calls[1:], strict=False)
    return [tensors[f"{prefix}draw{second['tensor']}"] for first, second in pairs if first["call"] == "random.random"]


def _like_each_other(ours, reference):
    """Ours has each sample at deviation 1, the reference the batch: the same but for a factor per sample."""
    near(ours, reference / reference.std(dim=(1, 2, 3), keepdim=True), rtol=1e-4, atol=1e-5)


@numbered("pyramid_noise")
def test_multires_noise(tensors, case):
    prefix = f"pyramid/{case['case']}/"
    coarse = targets.coarse_noise(_levels(case, tensors, prefix), case["shape"][2:], case["discount"])
    ours = targets.with_coarse(tensors[prefix + "noise"], coarse)
    _like_each_other(ours, tensors[prefix + "out"])
    if case["shape"][0] == 1:
        near(ours, tensors[prefix + "out"], rtol=1e-4, atol=1e-5)


@numbered("noise_pipeline")
def test_the_whole_of_noising(tensors, case):
    prefix = f"noise_pipeline/{case['case']}/"
    args, calls = case["args"], case["draws_in_order"]
    taken = iter([call for call in calls if call["call"] != "random.random"])

    def drawn():
        return tensors[f"{prefix}draw{next(taken)['tensor']}"]

    latents = tensors[prefix + "latents"]
    drawn_noise = drawn()
    strengths = drawn().expand(len(latents)) if args["noise_offset_random_strength"] and args["noise_offset"] else None
    offsets = drawn() if args["noise_offset"] else torch.zeros(len(latents), 4, 1, 1)
    levels = _levels(case, tensors, prefix)
    for _ in levels:
        next(taken)
    if args["min_timestep"] is None or args["min_timestep"] < args["max_timestep"]:
        near(drawn(), tensors[prefix + "timesteps"])
    again = drawn().expand(len(latents)) if args["ip_noise_gamma_random_strength"] else None
    draws = Draws(
        noise=drawn_noise,
        timesteps=tensors[prefix + "timesteps"],
        offsets=offsets,
        strengths=strengths,
        coarse=targets.coarse_noise(levels, latents.shape[2:], args["multires_noise_discount"]) if levels else None,
        perturbation=drawn() if args["ip_noise_gamma"] else None,
        perturbation_strengths=again,
    )
    noisy, target = Objective(tensors["sd/alphas_cumprod"], **chosen(args)).noised(latents, draws)
    if levels:  # normalised by sample here, by batch there
        _like_each_other(target, tensors[prefix + "noise"])
    else:
        near(target, tensors[prefix + "noise"])
        near(noisy, tensors[prefix + "noisy_latents"])


@numbered("noise_pipeline")
def test_timesteps_come_from_the_references_range(tensors, case):
    objective = Objective(tensors["sd/alphas_cumprod"], **chosen(case["args"]))
    keys = [SampleKey(0, image, 0) for image in range(200)]
    ours = objective.draw(3, keys, (4, 2, 2)).timesteps
    low, high = case["args"]["min_timestep"] or 0, case["args"]["max_timestep"] or 1000
    assert ours.min() >= low and ours.max() <= max(low, high - 1)
    assert (ours == low).all() if low == high else ours.max() - ours.min() > 0.8 * (high - low)


@numbered("weighting")
def test_weights_by_snr(facts, tensors, case):
    kind = "v_prediction" if case.get("v_prediction") else "epsilon"
    snr = tensors["sd/all_snr"][torch.tensor(facts["weighting"]["timesteps"])]
    weights = {
        "apply_snr_weight": lambda: weightings.MIN_SNR[kind](snr, case["gamma"]),
        "scale_v_prediction_loss_like_noise_prediction": lambda: weightings.noise_like_v(snr),
        "add_v_prediction_like_loss": lambda: weightings.v_like(snr, case["v_pred_like_loss"]),
        "apply_debiased_estimation": lambda: weightings.DEBIASED[kind](snr),
    }
    near(weights[case["function"]](), torch.tensor(case["weight"]))


@pytest.mark.parametrize("case", FACTS["weighting"]["post_process_loss"])
def test_several_weights_at_once(facts, tensors, case):
    kind = "v_prediction" if case["args"]["v_parameterization"] else "epsilon"
    objective = Objective(tensors["sd/alphas_cumprod"], kind, **chosen(case["args"]))
    weights = objective.weights(torch.tensor(facts["weighting"]["timesteps"]))
    near(weights * torch.tensor(facts["weighting"]["loss_in"]), torch.tensor(case["loss_out"]))


def test_with_zero_terminal_snr_weights_are_of_that_schedule_or_as_in_the_reference(tensors):
    class Loan:
        alphas_cumprod, prediction, zero_terminal_snr = tensors["sd/alphas_cumprod"], "epsilon", True
        device = torch.device("cpu")

    timesteps = torch.arange(1000)
    for rule, name in {
        "sd-scripts": "all_snr_used_by_trainer",
        "schedule": "all_snr_if_computed_after_the_fix",
    }.items():
        objective = objective_of(Loan(), LossSettings(min_snr_gamma=5.0, snr_rule=rule))
        expected = weightings.min_snr_epsilon(tensors[f"ztsnr/{name}"], 5.0)
        near(objective.weights(timesteps), expected, rtol=1e-3)
        assert torch.isfinite(objective.weights(timesteps)).all()


@numbered("huber")
def test_huber_thresholds_and_losses(tensors, case):
    prefix = f"huber/{case['case']}/"
    objective = Objective(tensors["sd/alphas_cumprod"], **chosen(case))
    recorded = tensors[prefix + "threshold_all_timesteps"]
    ignored = case["huber_scale"] if case["huber_schedule"] == "snr" else 1.0  # the reference does not heed it there
    near(objective.thresholds / ignored, recorded)
    predicted, target = tensors["huber/pred"], tensors["huber/target"]
    ours = losses.by_element(case["loss_type"], predicted, target, recorded[tensors["huber/timesteps"]])
    near(ours, tensors[prefix + "loss_none"])


def test_l1_and_l2(tensors):
    for kind in ("l1", "l2"):
        ours = losses.by_element(
            kind, tensors["huber/pred"], tensors["huber/target"], torch.ones(len(tensors["huber/pred"]))
        )
        near(ours, tensors[f"huber/{kind}_none"])


@numbered("masked_loss")
def test_masked_loss(tensors, case):
    """The reference's mask pictures come as its pipeline has them: the first channel, from -1..1."""
    prefix = f"masked_loss/{case['case']}/"
    errors = tensors[prefix + "loss"]
    if case["batch_key"] is None:
        near(errors, tensors[prefix + "out"])  # no mask, nothing happens
        return
    masks = tensors[prefix + "mask"]
    masks = masks[:, 0] / 2 + 0.5 if case["batch_key"] == "conditioning_images" else masks
    near(losses.masked(errors, masks), tensors[prefix + "out"])


@numbered("batch_loss")
def test_batch_loss(tensors, case):
    prefix = f"batch_loss/{case['case']}/"
    masks = tensors[prefix + "alpha_masks"] if case["has_alpha_masks"] else None
    kind = "v_prediction" if case["args"]["v_parameterization"] else "epsilon"
    objective = Objective(tensors["sd/alphas_cumprod"], kind, **chosen(case["args"]))
    each = objective.losses(tensors[prefix + "pred"], tensors[prefix + "target"], tensors[prefix + "timesteps"], masks)
    near((each * tensors[prefix + "loss_weights"]).mean(), tensors[prefix + "loss"])
