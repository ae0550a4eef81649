"""Each option of the schema changes what it should: a run with it differs from the run without it, on the right side.

How to add a row: docs/development.md, "A new option".
"""

from __future__ import annotations

import pytest
from engine_stage import lent
from options_stage import Stage
from options_table import ACTS

from lib_lora_train.settings.load import from_mapping
from lib_lora_train.settings.schema import group_of

OF_THE_PROGRAM = ("published", "card")


@pytest.fixture(scope="module")
def stage(tiny_checkpoint, tmp_path_factory):
    root = tmp_path_factory.mktemp("options")
    with lent(tiny_checkpoint, root) as loan:
        yield Stage(root, loan, tiny_checkpoint)


def test_every_option_has_a_row_and_no_row_is_for_nothing():
    assert set(ACTS) == set(group_of())


@pytest.mark.parametrize("name", ACTS)
def test_it_acts(stage, name):
    act = ACTS[name]
    look = stage.program if act.shows in OF_THE_PROGRAM else stage.run
    before, after = look(act.given), look({**act.given, name: act.value})
    assert getattr(before, act.shows) != getattr(after, act.shows), f"{name} does nothing to {act.shows}"


@pytest.mark.parametrize("name", [name for name, act in ACTS.items() if not callable(act.value)])
def test_the_value_is_not_the_default(name):
    act = ACTS[name]
    changed = from_mapping({name: act.value})
    assert getattr(getattr(changed, group_of()[name]), name) != act.given.get(name)
