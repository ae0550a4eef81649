"""What holds on a card only: run by tests/test_card.py, in a process where there is one."""

from __future__ import annotations

import math
from itertools import pairwise

import pretended
import pytest
import torch
from engine_stage import DEVICE, folder_in, lent, pictures, recipe

from lib_lora_train.engine.run import run
from lib_lora_train.events import Control, Finished, Progress


@pytest.fixture(scope="module")
def loan(tiny_checkpoint, tmp_path_factory):
    with lent(tiny_checkpoint, tmp_path_factory.mktemp("loan")) as loan:
        yield loan


def test_the_card_refuses_tensors_of_the_processor():
    on_card = torch.ones(2, 3, device=DEVICE)
    assert (on_card + 1).sum().item() == 12 and on_card.cpu().device.type == "cpu"
    for there, here in ((on_card, torch.ones(3)), (torch.ones(3), on_card)):
        with pytest.raises(RuntimeError, match="on the same device"):
            there * here


def test_a_module_that_moves_keeps_its_parameters_as_objects():
    layer = torch.nn.Linear(3, 4)
    weight, numbers = layer.weight, layer.weight.tolist()
    assert layer.to(DEVICE).weight is weight and weight.device.type == "cuda"
    layer(torch.ones(2, 3, device=DEVICE)).sum().backward()
    assert weight.grad.device.type == "cuda"
    layer.zero_grad()
    assert layer.to("cpu").weight is weight and type(weight) is torch.nn.Parameter and weight.tolist() == numbers


@pytest.mark.parametrize("precision", ["no", "fp16", "bf16"])
def test_a_step_waits_for_the_card_once(loan, tmp_path, precision):
    """For its loss and its gradient's norm together; a card idles while the processor waits for an answer."""
    settings = recipe(pictures(tmp_path), max_train_epochs=2, mixed_precision=precision)
    waits, losses = [], []
    for event in run(loan, settings, Control(), folder_in(tmp_path)):
        if isinstance(event, Progress):
            waits.append(pretended.CROSSED["sync"] + pretended.CROSSED["to cpu"])
            losses.append(event.loss)
    assert isinstance(event, Finished) and all(map(math.isfinite, losses))
    assert {after - before for before, after in pairwise(waits)} == {1}, pretended.PLACES
