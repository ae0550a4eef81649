"""The counts shown before a start are the steps run: any folders, epochs, steps, batch, accumulation, reg pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from app_stage import StageHost
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image

from lib_lora_train.app.check import check
from lib_lora_train.app.datasets import DataSets
from lib_lora_train.data.buckets import fits
from lib_lora_train.data.plan import Plan, length
from lib_lora_train.data.scan import scan
from lib_lora_train.engine.position import Position, grouped
from lib_lora_train.settings.load import from_mapping

SIZES = [(64, 64), (64, 128), (128, 64)]  # a bucket each
BASE = {"resolution": "64", "min_bucket_reso": 64, "max_bucket_reso": 128, "save_every_n_steps": 0}


@dataclass
class Trained:
    """What the engine's loop did, without a model: the same plan, batches, groups and position."""

    steps: int = 0
    epochs: int = 0
    samples_of_first_epoch: int = 0
    regularisation: int = 0


def train(settings) -> Trained:
    """As `engine.run` goes through the epochs, until the run is over."""
    found = scan(settings.data, settings.captions, settings.naming.trigger_word)
    training, done = settings.training, Trained()
    plan = Plan(found.records, fits(found.records, settings.data), training.train_batch_size, training.seed)
    planned, at = length(plan.batches_per_epoch, training), Position(plan.batches_per_epoch)
    while at.step < planned.steps:
        epoch = at.epoch
        groups = grouped(plan.epoch(epoch)[at.batch :], training.gradient_accumulation_steps)
        while at.epoch == epoch and at.step < planned.steps:
            group = next(groups)
            at.advance(len(group))
            done.steps += 1
            if epoch == 0:
                keys = [key for batch in group for key in batch]
                done.samples_of_first_epoch += len(keys)
                done.regularisation += sum(found.records[key.image].is_reg for key in keys)
        done.epochs = epoch + 1
    return done


def folders(root: Path, counts: list[tuple[int, int]], reg: list[tuple[int, int]]) -> Path:
    """`counts`: (repeats, pictures) of each concept folder; `reg` the same for regularisation pictures."""
    for top, given_ in ((root, counts), (root / "reg", reg)):
        for index, (repeats, pictures) in enumerate(given_):
            folder = top / f"{repeats}_c{index}"
            folder.mkdir(parents=True)
            for number in range(pictures):
                Image.new("RGB", SIZES[(number + index) % len(SIZES)]).save(folder / f"{number}.png")
    return root


concepts = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=3)


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    counts=concepts,
    reg=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 4)), max_size=2),
    batch=st.integers(1, 5),
    accumulation=st.integers(1, 5),
    epochs=st.integers(0, 4),
    steps=st.integers(1, 40),
)
def test_what_check_says_is_what_is_trained(tmp_path_factory, counts, reg, batch, accumulation, epochs, steps):
    root = tmp_path_factory.mktemp("counts")
    host = StageHost(root)
    settings = from_mapping(
        {**BASE, "train_data_dir": str(folders(root / "set", counts, reg)), "train_batch_size": batch,
         "gradient_accumulation_steps": accumulation, "max_train_epochs": epochs, "max_train_steps": steps}
    )  # fmt: skip
    said, done = check(settings, host, DataSets()), train(settings)
    estimate = said["estimate"]
    assert (estimate["steps"], estimate["epochs"]) == (done.steps, done.epochs)
    if epochs or done.epochs > 1:  # the first epoch was whole
        assert said["pictures"]["samples"] == estimate["samples_per_epoch"] == done.samples_of_first_epoch
        own = sum(repeats * pictures for repeats, pictures in counts)
        assert done.samples_of_first_epoch - done.regularisation == own
        assert done.regularisation >= own if reg else done.regularisation == 0
    if epochs:
        assert done.epochs == epochs
    else:
        assert done.steps == steps


@pytest.mark.parametrize("changes", [{"max_train_epochs": 2}, {"max_train_steps": 7, "train_batch_size": 2}])
def test_the_engine_runs_what_the_loop_here_counts(tiny_checkpoint, tmp_path, changes):
    """The same count, with a model under it."""
    from engine_stage import folder_in, lent, of, play, recipe

    from lib_lora_train.events import Finished, Progress

    root = folders(tmp_path / "set", [(2, 3), (1, 2)], [(1, 2)])
    settings = recipe(root, gradient_accumulation_steps=2, bucket_reso_steps=64, min_bucket_reso=64, **changes)
    with lent(tiny_checkpoint, tmp_path) as loan:
        events = play(loan, settings, folder_in(tmp_path))
    progress, done = of(events, Progress), train(settings)
    assert len(progress) == progress[-1].total_steps == of(events, Finished)[0].step == done.steps
    assert progress[-1].epoch == progress[-1].epochs == done.epochs
