"""Measuring: real steps that leave nothing behind, and what is proposed where they do not fit."""

from __future__ import annotations

import os

import pytest
import torch
from engine_stage import lent, of, pictures, recipe, traces

from lib_lora_train.engine.trial import STEPS, trial
from lib_lora_train.errors import OutOfMemory
from lib_lora_train.events import Control, Phase


@pytest.fixture
def stage(tmp_path, tiny_checkpoint):
    with lent(tiny_checkpoint, tmp_path) as loan:
        yield loan, pictures(tmp_path)


def played(loan, settings, control=None):
    events, tried = [], trial(loan, settings, control or Control())
    while True:
        try:
            events.append(next(tried))
        except StopIteration as end:
            return events, end.value


class Small:
    """A device on which a pass of more than `most` samples, or pixels, does not fit."""

    def __init__(self, loan, most=64, pixels=10**9):
        self.seen = []

        def look(module, args, kwargs):
            noisy = args[0] if args else kwargs["sample"]
            self.seen.append(tuple(noisy.shape))
            if noisy.shape[0] > most or noisy.shape[2] * noisy.shape[3] * 64 > pixels:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")

        self.hook = loan.unet.register_forward_pre_hook(look, with_kwargs=True)


def test_it_takes_real_steps_and_leaves_nothing(stage, tmp_path):
    loan, data = stage
    before, files = traces(loan), sorted(os.walk(tmp_path))
    events, found = played(loan, recipe(data, train_batch_size=2))
    assert found.seconds_per_step > 0 and found.memory_gb > 0 and found.lower == {}
    assert [event.done for event in of(events, Phase) if event.name == "measure"] == list(range(STEPS + 1))
    assert traces(loan) == before and sorted(os.walk(tmp_path)) == files


def test_the_largest_batch_is_among_the_steps(stage):
    loan, data = stage
    device = Small(loan)
    played(loan, recipe(data, train_batch_size=3))
    device.hook.remove()
    assert device.seen[0] == (3, 4, 8, 8), "three squares are the most there can be at once"
    assert len(device.seen) == STEPS


def test_accumulated_steps_are_whole_steps(stage):
    loan, data = stage
    device = Small(loan)
    played(loan, recipe(data, gradient_accumulation_steps=4))
    device.hook.remove()
    assert len(device.seen) == 4 * STEPS


def test_what_does_not_fit_is_tried_smaller_until_it_does(stage):
    loan, data = stage
    device = Small(loan, most=1)
    events, found = played(loan, recipe(data, train_batch_size=4))
    device.hook.remove()
    assert found.lower == {"train_batch_size": 1, "gradient_accumulation_steps": 4} and found.seconds_per_step > 0
    assert any("train_batch_size = 2" in event.text for event in of(events, Phase))


def test_resolution_is_the_last_resort_and_then_it_is_said(stage):
    loan, data = stage
    device = Small(loan, pixels=48 * 48)
    _, found = played(loan, recipe(data, bucket_reso_steps=16, min_bucket_reso=16))
    assert found.lower == {"gradient_checkpointing": True, "resolution": "48"}
    device.hook.remove()
    device = Small(loan, most=0)
    with pytest.raises(OutOfMemory):
        played(loan, recipe(data))
    device.hook.remove()


def test_it_stops_when_told(stage):
    loan, data = stage
    before, control = traces(loan), Control()
    tried = trial(loan, recipe(data), control)
    for event in tried:
        if event.name == "measure":
            control.stop()
    assert traces(loan) == before


def test_a_trial_that_is_dropped_leaves_nothing(stage):
    loan, data = stage
    before, tried = traces(loan), trial(loan, recipe(data), Control())
    next(event for event in tried if event.name == "measure" and event.done == 1)
    tried.close()
    assert traces(loan) == before


def test_regularisation_pictures_alone_in_the_largest_batch_do_no_harm(stage):
    loan, data = stage
    pictures(data, [(96, 96)] * 2).rename(data / "kept")
    (data / "kept").rename(data / "reg")
    _, found = played(loan, recipe(data))
    assert found.seconds_per_step > 0
