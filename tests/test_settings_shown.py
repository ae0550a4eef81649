"""Which options are shown as doing nothing, and that they do nothing then."""

from __future__ import annotations

import pytest

from lib_lora_train.engine import schedules
from lib_lora_train.settings import shown
from lib_lora_train.settings.describe import describe, fields
from lib_lora_train.settings.load import from_mapping, to_mapping


def test_conditions_name_options_and_values_that_there_are():
    for name, conditions in shown.WHEN.items():
        assert name in fields() and name not in conditions
        for field, wanted in conditions.items():
            known = fields()[field]
            assert not known.get("choices") or set(wanted) <= set(known["choices"]), (name, field)
    assert set(shown.LINES) <= set(fields())


def test_the_form_is_told():
    told = {field["name"]: field for group in describe() for field in group["fields"]}
    assert told["huber_c"]["when"] == {"loss_type": ("huber", "smooth_l1")} and told["seed"]["when"] == {}
    assert told["sample_prompts"]["lines"] > 1 and told["seed"]["lines"] == 1


def test_options_that_do_nothing_are_found():
    values = to_mapping(from_mapping({"huber_c": 0.5}))
    assert not shown.acts("huber_c", values) and shown.acts("huber_c", {**values, "loss_type": "huber"})
    assert shown.unused(from_mapping({"huber_c": 0.5, "seed": 7})) == ["huber_c"]
    assert shown.unused(from_mapping({"huber_c": 0.5, "loss_type": "smooth_l1"})) == []


@pytest.mark.parametrize(("name", "values"), [("lr_scheduler_num_cycles", (1, 4)), ("lr_scheduler_power", (1, 3))])
def test_schedules_heed_an_option_exactly_when_it_is_shown_to_act(name, values):
    for scheduler in fields()["lr_scheduler"]["choices"]:
        both = [from_mapping({"lr_scheduler": scheduler, name: value}).optimizer for value in values]
        curves = [[schedules.factor(one, step, 100) for step in range(100)] for one in both]
        acts = shown.acts(name, {"lr_scheduler": scheduler})
        assert (curves[0] != curves[1]) == acts, scheduler
