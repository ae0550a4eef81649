"""What goes with what among the options of pictures, captions and loss, said at the field."""

from __future__ import annotations

import pytest

from lib_lora_train.settings import load
from lib_lora_train.settings.advice import advise


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"logit_mean": 0.5}, "logit_mean"),
        ({"timestep_sampling": "sigmoid", "discrete_flow_shift": 2.0}, "discrete_flow_shift"),
    ],
)
def test_warnings_stand_at_their_field(values, field):
    found = advise(load.from_mapping(values))
    assert [(a.field, a.level) for a in found] == [(field, "warning")]


@pytest.mark.parametrize(
    "values",
    [{"timestep_sampling": "shift", "sigmoid_scale": 1.5, "discrete_flow_shift": 2.0}],
)
def test_what_goes_together_is_not_remarked(values):
    assert advise(load.from_mapping(values)) == []
