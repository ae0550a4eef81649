"""The outline of a checkpoint: the same layers by its file's header as by the borrowed modules."""

from __future__ import annotations

import math

import pytest
from engine_stage import lent

from demo import ldm_layout
from lib_lora_train.adapters.targets import chosen, places, targets
from lib_lora_train.errors import HostError
from lib_lora_train.families.outline import outline, outline_of
from lib_lora_train.hosts.checkpoint_file import shapes
from lib_lora_train.settings.options_network import NetworkSettings


def hung(convolutions):
    return chosen(NetworkSettings(network_type="LoCon" if convolutions else "LoRA"))


@pytest.mark.parametrize("convolutions", [False, True])
def test_the_header_tells_the_same_targets_as_the_loan(tiny_checkpoint, tmp_path, convolutions):
    told = outline(shapes(tiny_checkpoint))
    with lent(tiny_checkpoint, tmp_path) as loan:
        assert {o: {n: s for n, s in named.items() if len(s) > 1} for o, named in told.items()} == {
            o: {n: s for n, s in named.items() if len(s) > 1} for o, named in outline_of(loan).items()
        }
        borrowed = [(t.key, t.part, t.shape, t.wide) for t in targets(loan, hung(convolutions))]
    assert [(p.key, p.part, p.shape, p.wide) for p in places(told, hung(convolutions))] == borrowed


@pytest.mark.parametrize("convolutions, numbers", [(False, 423_936 + 165_888), (True, 423_936 + 165_888 + 82_880)])
def test_sd15_has_the_numbers_per_rank_that_are_known(convolutions, numbers):
    found = [p for p in places(outline(ldm_layout.checkpoint(ldm_layout.SD15)), hung(convolutions)) if not p.wide]
    assert sum(p.shape[0] + math.prod(p.shape[1:]) for p in found) == numbers


def test_what_is_no_such_checkpoint_is_refused_by_name():
    for told in ({}, {"model.diffusion_model.input_blocks.0.0.weight": (320, 9, 3, 3)}):
        with pytest.raises(HostError):
            outline(told)
