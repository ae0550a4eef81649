"""Learning rates against golden 06, and the one difference from it: no step at rate 0 in the warm-up."""

from __future__ import annotations

import pytest
import torch
from golden_data import facts
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lib_lora_train.engine import optimizers, schedules
from lib_lora_train.errors import SettingsError
from lib_lora_train.settings import load
from lib_lora_train.settings.schema import OptimizerSettings

FACTS = facts("06_lr_schedulers")
CASES = [c for c in FACTS["cases"] if c["lr_scheduler"] in schedules.SHAPES and "lr" in c]


def _settings(case):
    rate = case["learning_rate"]
    return OptimizerSettings(lr_scheduler=case["lr_scheduler"], learning_rate=rate, **case["options"])


@pytest.mark.golden
@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c['lr_scheduler']}-{c['options']}-{c['max_train_steps']}")
def test_rates_equal_the_reference_after_the_warm_up_and_lead_it_by_one_before(case):
    settings, total = _settings(case), case["max_train_steps"]
    warmup = schedules.warmup_steps(settings, total)
    for step in range(total):
        reference = case["lr"][step + 1 if step < warmup else step]
        if step + 1 == warmup:
            reference = case["learning_rate"]
        ours = case["learning_rate"] * schedules.factor(settings, step, total)
        assert ours == pytest.approx(reference, rel=1e-6, abs=1e-15)


@pytest.mark.golden
def test_both_parts_follow_one_schedule_each_at_its_rate():
    recorded = FACTS["two_groups_cosine_warmup_4_of_20"]
    text, unet = recorded["initial_lrs"]
    chosen = OptimizerSettings(
        optimizer_type="AdamW", lr_scheduler="cosine", lr_warmup_steps=4, text_encoder_lr=text, unet_lr=unet
    )
    parts = {part: [nn.Parameter(torch.ones(2))] for part in ("text_encoder", "unet")}
    built = optimizers.build(chosen, parts, torch.device("cpu"))
    for step in range(20):
        built.set_rates(schedules.factor(chosen, step, 20))
        rates = [built.rates["text_encoder"], built.rates["unet"]]
        assert rates == pytest.approx(recorded["lr_per_group"][step + 1 if step < 4 else step])


@pytest.mark.golden
def test_a_share_of_the_run_is_below_one_or_in_percent():
    for row in FACTS["parsing_of_lr_warmup_steps"]:
        if row["text"].endswith("%") and row["value"] >= 1:  # the reference warms up beyond the end
            with pytest.raises(SettingsError, match="lr_warmup_steps"):
                load.from_mapping({"lr_warmup_steps": row["text"]})
        elif "raises" not in row:
            settings = load.from_mapping({"lr_warmup_steps": row["text"]}).optimizer
            assert schedules.warmup_steps(settings, 200) == row["warmup_steps_when_max_train_steps_is_200"]


@pytest.mark.parametrize("text", ["abc", "x%", "100%", "-1%", "nan%"])
def test_other_texts_are_refused_as_warm_up(text):
    with pytest.raises(SettingsError):
        load.from_mapping({"lr_warmup_steps": text})


@given(
    st.sampled_from(sorted(schedules.SHAPES)),
    st.integers(1, 60),
    st.floats(0, 80),
    st.integers(1, 5),
    st.floats(0, 5),
    st.floats(1e-9, 2),
)
def test_no_step_of_any_run_is_wasted_or_above_the_rate(kind, total, warmup, cycles, power, rate):
    settings = OptimizerSettings(
        lr_scheduler=kind,
        lr_warmup_steps=warmup,
        lr_scheduler_num_cycles=cycles,
        lr_scheduler_power=power,
        learning_rate=rate,
    )
    assert all(0 < schedules.factor(settings, step, total) <= 1 for step in range(total))


def test_restarts_start_at_the_full_rate():
    settings = OptimizerSettings(lr_scheduler="cosine_with_restarts", lr_scheduler_num_cycles=4)
    assert [schedules.factor(settings, step, 40) for step in (0, 10, 20, 30)] == [1, 1, 1, 1]


def test_constant_with_a_warm_up_is_refused():
    with pytest.raises(SettingsError, match="constant_with_warmup"):
        schedules.check(OptimizerSettings(lr_scheduler="constant", lr_warmup_steps=10))
    schedules.check(OptimizerSettings(lr_scheduler="constant"))
    schedules.check(OptimizerSettings(lr_scheduler="constant_with_warmup", lr_warmup_steps=10))
