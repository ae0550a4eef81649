"""Estimates against real runs and real files; the meter's speed; what to lower when memory runs out."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from engine_stage import folder_in, last_file, lent, of, pictures, play, recipe
from hypothesis import given
from hypothesis import strategies as st

from lib_lora_train.data.scan import scan
from lib_lora_train.data.types import ImageRecord
from lib_lora_train.engine import memory
from lib_lora_train.engine.estimate import estimate
from lib_lora_train.engine.meter import Meter, Smooth, memory_gb
from lib_lora_train.engine.position import Position, grouped
from lib_lora_train.errors import OutOfMemory
from lib_lora_train.events import Progress, Snapshot
from lib_lora_train.families.outline import outline_of
from lib_lora_train.settings.load import from_mapping

CPU = torch.device("cpu")
NOWHERE = SimpleNamespace(family="", precision="", on_card=False)
CARD = SimpleNamespace(family="SD1", precision="float16", on_card=True)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("estimate")


@pytest.fixture(scope="module")
def data(root):
    return pictures(root)


def records(settings):
    return scan(settings.data, settings.captions).records


@pytest.mark.parametrize(
    "changes",
    [
        {"max_train_epochs": 2, "save_every_n_epochs": 1, "save_every_n_steps": 2},
        {"max_train_steps": 7, "save_every_n_steps": 7, "train_batch_size": 2},
        {"max_train_steps": 5, "gradient_accumulation_steps": 2, "save_every_n_epochs": 1, "network_type": "LoCon"},
    ],
)
def test_steps_epochs_files_and_size_are_those_of_the_run(tiny_checkpoint, data, root, changes):
    settings, folder = recipe(data, **changes), folder_in(root)
    with lent(tiny_checkpoint, root) as loan:
        expected = estimate(settings, records(settings), NOWHERE, outline_of(loan))
        events = play(loan, settings, folder)
    progress = of(events, Progress)
    assert (expected.steps, expected.epochs) == (progress[-1].step, progress[-1].epochs)
    assert progress[-1].epoch == expected.epochs
    assert expected.snapshots == len({s.path for s in of(events, Snapshot)})
    assert (expected.pictures, expected.samples_per_epoch) == (5, 5)
    size = last_file(events, folder).stat().st_size / 1e6
    assert expected.file_mb == pytest.approx(size, abs=0.15)


def _default(data, **changes):
    return from_mapping({"train_data_dir": str(data), **changes})


@pytest.mark.parametrize("rank, low, high", [(32, 36, 40), (8, 8, 11), (128, 145, 155)])
def test_file_size_by_rank_is_what_users_know(data, rank, low, high):
    """About 1.2 MB per rank in fp16 for SD1."""
    settings = _default(data, network_dim=rank)
    assert low < estimate(settings, records(settings), CARD).file_mb < high


@given(st.integers(1, 60), st.integers(0, 7), st.integers(0, 4))
def test_files_are_counted_as_they_fall_due(steps, every_steps, every_epochs):
    found = [ImageRecord(Path(f"{n}.png"), (512, 512), "") for n in range(3)]
    saving = {"save_every_n_steps": every_steps, "save_every_n_epochs": every_epochs}
    settings = from_mapping({"max_train_steps": steps, "train_batch_size": 1, **saving})
    intervals = [every for every in (every_steps, every_epochs * 3) if every]
    due = {step for step in range(1, steps) if any(step % every == 0 for every in intervals)}
    assert estimate(settings, found, CARD).snapshots == len(due) + 1


def test_an_endless_run_is_estimated_at_once(data):
    settings = _default(data, max_train_steps=2**62, save_every_n_steps=1, save_every_n_epochs=1)
    assert estimate(settings, records(settings), CARD).snapshots == 2**62


def test_memory_falls_with_every_step_of_the_advice(data):
    start = {"train_batch_size": 4, "resolution": "768"}
    needs = []
    while start:
        settings = _default(data, **start)
        needs.append(estimate(settings, records(settings), CARD).memory_gb)
        lower = memory.to_lower(settings, "train")
        start = {**start, **lower} if lower and len(needs) < 6 else {}
    assert len(needs) == 6 and needs == sorted(needs, reverse=True) and needs[0] > 2 * needs[-1]


def test_a_measured_speed_is_believed(data):
    settings = _default(data, max_train_steps=100)
    assert estimate(settings, records(settings), CARD, seconds_per_step=0.5).seconds == 50
    assert estimate(settings, records(settings), CARD).seconds > 0


def test_pictures_that_are_encoded_anew_take_time(data):
    """An SD1 step is 1.4 TFLOP, encoding 1.1: nearly double."""
    kept = _default(data, flip_aug=True)
    anew = _default(data, color_aug=True)
    ratio = estimate(anew, records(anew), CARD).seconds / estimate(kept, records(kept), CARD).seconds
    assert 1.5 < ratio < 2.2


def test_what_is_lowered_keeps_the_batch_and_comes_in_the_guides_order():
    settings = from_mapping({"train_batch_size": 5, "gradient_accumulation_steps": 2, "resolution": "512x768"})
    assert memory.to_lower(settings, "train") == {"train_batch_size": 2, "gradient_accumulation_steps": 6}
    settings = from_mapping({"resolution": "512x768"})
    assert memory.to_lower(settings, "train") == {"gradient_checkpointing": True}
    settings = from_mapping({"resolution": "512x768", "gradient_checkpointing": True})
    assert memory.to_lower(settings, "train") == {"resolution": "384x576"}
    settings = from_mapping({"resolution": "64", "gradient_checkpointing": True})
    assert memory.to_lower(settings, "train") == {}
    assert memory.to_lower(from_mapping({"vae_batch_size": 4}), "latents") == {"vae_batch_size": 2}
    assert memory.to_lower(from_mapping({}), "latents") == {"resolution": "384"}


def test_other_errors_are_not_taken_for_memory():
    with pytest.raises(RuntimeError, match="shape"), memory.guarded(from_mapping({}), "train"):
        raise RuntimeError("shape mismatch")
    with pytest.raises(OutOfMemory) as caught, memory.guarded(from_mapping({}), "train"):
        torch.empty(2**60)
    assert caught.value.lower and isinstance(caught.value.__cause__, RuntimeError)


def test_speed_counts_only_what_is_timed_and_forgets_the_first_step():
    now = [0.0]
    meter = Meter(CPU, clock=lambda: now[0])

    def spend(seconds):
        with meter.timed():
            now[0] += seconds

    def parts():
        now[0] += 1.0
        yield "part"
        now[0] += 1.0
        return "end"

    spend(10.0)
    meter.step_done(1.0)
    assert meter.seconds_per_step == pytest.approx(10.0)
    timing, seen = meter.timing(parts()), []
    while True:
        try:
            seen.append(next(timing))
            now[0] += 100.0  # a pause between parts
        except StopIteration as end:
            assert (seen, end.value) == (["part"], "end")
            break
    meter.step_done(2.0)
    assert meter.seconds_per_step == pytest.approx(2.0)
    speed = meter.speed(30)
    assert (speed["it_per_s"], speed["eta_s"]) == (pytest.approx(0.5), pytest.approx(60.0))
    assert speed["memory_gb"] == pytest.approx(memory_gb(CPU), rel=0.1)
    meter.step_done(float("nan"))
    assert meter.loss.mean == pytest.approx(1.505, abs=0.01)


@given(st.lists(st.floats(-10, 10), min_size=1), st.floats(0.1, 0.99))
def test_the_smoothed_loss_stays_within_the_losses(values, share):
    smooth = Smooth(share)
    means = [smooth.add(value) for value in values]
    assert means[0] == pytest.approx(values[0])
    assert min(values) - 1e-6 <= means[-1] <= max(values) + 1e-6


@given(st.integers(1, 20), st.integers(1, 6), st.integers(1, 5))
def test_positions_walk_through_whole_epochs(batches, size, epochs):
    at = Position(batches)
    for epoch in range(epochs):
        assert (at.epoch, at.batch) == (epoch, 0)
        for group in grouped(range(batches), size):
            at.advance(len(group))
    assert (at.epoch, at.batch, at.step) == (epochs, 0, epochs * -(-batches // size))
    assert at.epoch_ended and at.due(0, 1) and at.due(0, epochs) and not at.due(0, 0)
