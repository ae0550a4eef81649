"""One step: accumulation weighs samples alike, clipping, loss scaling, skipped steps, every precision."""

from __future__ import annotations

import pytest
import torch
from engine_stage import lent, pictures, recipe

from lib_lora_train.data.types import Batch, SampleKey
from lib_lora_train.engine import precision, step
from lib_lora_train.engine.bake import tools
from lib_lora_train.engine.precision import LossScaler
from lib_lora_train.engine.prepare import encoder
from lib_lora_train.engine.step import Stepper
from lib_lora_train.errors import NotFinite, SettingsError
from lib_lora_train.families.checkpointing import enable_checkpointing


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return pictures(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def loan(tiny_checkpoint, tmp_path_factory):
    with lent(tiny_checkpoint, tmp_path_factory.mktemp("host")) as loan:
        yield loan


def batch(*images, weights=None):
    latents = [torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(i)) for i in images]
    return Batch(
        keys=[SampleKey(0, i, 0) for i in images],
        latents=torch.stack(latents),
        captions=[f"pib, {i}" for i in images],
        sizes=torch.tensor([[64, 64, 0, 0, 64, 64]] * len(images), dtype=torch.float32),
        is_reg=torch.zeros(len(images), dtype=torch.bool),
        loss_weights=torch.tensor(weights or [1.0] * len(images)),
    )


def stepper(loan, data, clip=0.0, **changes):
    settings = recipe(data, **changes)
    made = tools(loan, settings)
    made.adapters.attach()
    scaler = LossScaler.for_precision(made.precision)
    arguments = (loan, made.objective, made.built, encoder(loan, settings, made.dtype), made.dtype, 0, clip, scaler)
    return Stepper(*arguments), made.adapters


def finish(generator):
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value


@pytest.fixture
def made(loan, data):
    """Steppers by keyword arguments; whatever they attached is taken off afterwards."""
    hung = []

    def make(**changes):
        for adapters in hung:
            if adapters.attached:
                adapters.detach()
        one, adapters = stepper(loan, data, **changes)
        hung.append(adapters)
        return one, adapters

    yield make
    for adapters in hung:
        if adapters.attached:
            adapters.detach()


def gradients(one):
    return [p.grad.clone() for p in one.parameters if p.grad is not None]


def test_accumulated_batches_weigh_as_one(made):
    one, _ = made()
    finish(one._accumulate([batch(0, 1, 2, weights=[1.0, 0.5, 2.0])]))
    whole = gradients(one)
    total = finish(one._accumulate([batch(0, weights=[1.0]), batch(1, 2, weights=[0.5, 2.0])]))
    assert any(g.abs().sum() > 0 for g in whole)
    for together, apart in zip(whole, gradients(one), strict=True):
        torch.testing.assert_close(apart, together, rtol=1e-4, atol=1e-7)
    losses = one.losses(batch(0, 1, 2, weights=[1.0, 0.5, 2.0]))
    torch.testing.assert_close(total, losses.mean().detach(), rtol=1e-5, atol=1e-7)


def test_a_samples_loss_does_not_depend_on_its_batch(made):
    one, _ = made()
    with torch.no_grad():
        together = one.losses(batch(3, 1, 2))
        alone = torch.cat([one.losses(batch(i)) for i in (3, 1, 2)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


def test_clipping_bounds_the_gradient_and_zero_switches_it_off(made):
    seen = {}
    for clip in (0.0, 1e-3, 1e6):
        one, _ = made(clip=clip)
        optimizer = one.built.optimizer
        taken = []
        optimizer.step = lambda taken=taken, one=one: taken.append(one._gradient_norm().item())
        finish(one.step([batch(0, 1)], 1.0))
        seen[clip] = taken[0]
    assert seen[1e-3] == pytest.approx(1e-3, rel=1e-2)
    assert seen[0.0] == pytest.approx(seen[1e6], rel=1e-6) and seen[0.0] > 1e-3


def test_the_loss_scale_leaves_the_gradient_as_it_is(made):
    one, _ = made()
    finish(one._accumulate([batch(0, 1)]))
    plain, norm = gradients(one), one._gradient_norm()
    one.scaler = LossScaler(1024.0, 1000)
    finish(one._accumulate([batch(0, 1)]))
    torch.testing.assert_close(one._gradient_norm(), norm, rtol=1e-4, atol=1e-6)
    for scaled, unscaled in zip(gradients(one), plain, strict=True):
        torch.testing.assert_close(scaled / 1024, unscaled, rtol=1e-4, atol=1e-7)


def test_an_overflow_is_tried_again_with_a_smaller_scale(made):
    one, adapters = made()
    before = adapters.state_dict()
    finish(one.step([batch(0, 1)], 1.0))
    expected = {name: after - before[name] for name, after in adapters.state_dict().items()}

    again, adapters = made()
    again.scaler = LossScaler(2.0**68, 1000)  # the first tries overflow float32
    loss = finish(again.step([batch(0, 1)], 1.0))
    assert again.skipped == 0 and loss > 0 and again.scaler.scale < 2.0**68
    moved = {name: after - before[name] for name, after in adapters.state_dict().items()}
    for name in expected:
        torch.testing.assert_close(moved[name], expected[name], rtol=1e-3, atol=1e-5)


def test_non_finite_steps_change_nothing_and_the_third_in_a_row_ends_it(made):
    one, adapters = made()
    before = adapters.state_dict()
    poisoned = batch(0, 1)
    poisoned.latents[0, 0, 0, 0] = float("nan")
    finish(one.step([poisoned], 1.0))
    finish(one.step([poisoned], 1.0))
    assert (one.skipped, one.in_a_row) == (2, 2) and not one.built.optimizer.state
    assert all(torch.equal(after, before[name]) for name, after in adapters.state_dict().items())
    finish(one.step([batch(0, 1)], 1.0))
    assert (one.skipped, one.in_a_row) == (2, 0)
    for _ in range(2):
        finish(one.step([poisoned], 1.0))
    with pytest.raises(NotFinite, match="three|3"):
        finish(one.step([poisoned], 1.0))
    assert all(p.grad is None or torch.isfinite(p).all() for p in one.parameters)


@pytest.mark.parametrize("mixed", ["no", "bf16", "fp16"])
def test_every_precision_learns(made, mixed, data):
    try:
        one, _ = made(mixed_precision=mixed)
    except SettingsError:
        pytest.skip(f"this torch cannot compute in {mixed} on a CPU")
    group = [batch(0)]
    losses = [finish(one.step(group, 1.0)) for _ in range(6)]
    assert losses[-1] < losses[0] and one.skipped == 0
    assert all(p.dtype == torch.float32 for p in one.parameters)


def test_precisions_agree(made):
    losses = {}
    for mixed in ("no", "bf16"):
        one, _ = made(mixed_precision=mixed)
        with torch.no_grad():
            losses[mixed] = one.losses(batch(0, 1, 2))
    torch.testing.assert_close(losses["bf16"], losses["no"], rtol=0.05, atol=0.02)


def test_nothing_of_a_step_stays(made):
    one, _ = made()
    finish(one.step([batch(0)], 1.0))
    assert all(p.grad is None for p in one.parameters)


def test_long_steps_let_others_through(made, monkeypatch):
    one, _ = made()
    monkeypatch.setattr(step, "BREATH_S", -1.0)
    events = list(one.step([batch(0), batch(1), batch(2)], 1.0))
    assert [(e.name, e.done, e.total) for e in events] == [("train", 1, 3), ("train", 2, 3)]


def test_scaler_backs_off_and_recovers():
    scaler = LossScaler(4.0, 2)
    scaler.went_well()
    scaler.back_off()
    assert (scaler.scale, scaler.clean) == (2.0, 0)
    for _ in range(2):
        scaler.went_well()
    assert scaler.scale == 4.0
    for _ in range(5):
        scaler.back_off()
    assert scaler.scale == 1.0 and not scaler.can_back_off
    copy = LossScaler(8.0, 2)
    copy.restore(scaler.state())
    assert copy == scaler
    off = LossScaler.for_precision("bf16")
    off.went_well()
    assert off.scale == 1.0 and not off.can_back_off


def test_auto_is_float32_on_a_cpu():
    assert precision.resolve("auto", torch.device("cpu")) == "no"


def test_checkpointing_gives_the_same_gradients(made, loan):
    one, _ = made()
    finish(one._accumulate([batch(0, 1)]))
    plain = gradients(one)
    runs = []
    hook = loan.unet.mid_block.resnets[1].conv1.register_forward_pre_hook(lambda *_: runs.append(1))
    enable_checkpointing(loan, True)
    finish(one._accumulate([batch(0, 1)]))
    enable_checkpointing(loan, False)
    hook.remove()
    assert len(runs) == 2  # once forward, once more in backward
    for a, b in zip(gradients(one), plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)
    assert not loan.unet.training
