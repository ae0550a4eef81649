"""Counts as the reference counts, and an order that depends on the seed alone."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import golden_data
import golden_runs
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lib_lora_train.data import buckets
from lib_lora_train.data.plan import Plan, length
from lib_lora_train.data.scan import scan
from lib_lora_train.data.types import Fit, ImageRecord
from lib_lora_train.errors import DataError
from lib_lora_train.settings.schema import DataSettings, TrainingSettings

patient = hypothesis_settings(max_examples=60, deadline=None)  # machines are busy


def golden(name):
    return golden_data.facts(name)


def records_of(case):
    """Records as the reference's test made them: folders of `n` pictures with sizes in turn."""
    sizes = case["image_sizes_cycled_over_each_folder"]
    return [
        ImageRecord(Path(f"{kind}{folder}/{i:02}.png"), tuple(sizes[i % len(sizes)]), "", repeats, kind == "reg")
        for kind in ("train", "reg")
        for folder, (count, repeats) in enumerate(case[f"{kind}_subsets_images_repeats"])
        for i in range(count if repeats else 0)
    ]


@pytest.mark.golden
@pytest.mark.parametrize(
    "case", golden("03_folders_and_files")["sample_counts"],
    ids=lambda c: f"{c['train_subsets_images_repeats']} {c['reg_subsets_images_repeats']} {c['batch_size']}",
)  # fmt: skip
def test_sample_counts(case):
    records = records_of(case)
    data = DataSettings(
        resolution="x".join(map(str, case["resolution"])), min_bucket_reso=64, max_bucket_reso=256,
        bucket_rule="sd-scripts",
    )  # fmt: skip
    plan = Plan(records, buckets.fits(records, data), case["batch_size"], 0)
    used = {r.path.as_posix(): n for r, n in zip(records, plan.uses, strict=True) if n}
    assert used == case["repeats_per_image"]
    assert plan.batches_per_epoch == case["batches_per_epoch"] == len(plan.epoch(0))
    assert plan.samples_per_epoch == case["samples_per_epoch"] == sum(map(len, plan.epoch(0)))


@pytest.mark.golden
@pytest.mark.parametrize("run", golden_runs.runs(), ids=golden_runs.name)
def test_whole_runs_have_the_steps_and_epochs_of_the_reference(run, tmp_path):
    metadata, settings = golden_runs.metadata(run), golden_runs.settings(run, tmp_path)
    found = scan(settings.data, settings.captions)
    plan = Plan(found.records, buckets.fits(found.records, settings.data), settings.training.train_batch_size, 42)
    got = length(plan.batches_per_epoch, settings.training)
    assert plan.batches_per_epoch == int(metadata["ss_num_batches_per_epoch"])
    assert got.steps == run["final_max_train_steps"]
    assert got.epochs == int(metadata["ss_num_epochs"])
    counts = Counter()
    for fit, used in zip(plan.fits, plan.uses, strict=True):
        counts[fit.bucket] += used
    wanted = json.loads(metadata["ss_bucket_info"])["buckets"].values()
    assert counts == {tuple(b["resolution"]): b["count"] for b in wanted}


def make(repeats, sizes=(64,), batch=2, seed=0, reg=()):
    records = [
        ImageRecord(Path(f"{i}.png"), (64, 64), str(i), n, i in reg, digest=str(i)) for i, n in enumerate(repeats)
    ]
    fits = [Fit((sizes[i % len(sizes)], 64), (64, 64), (0, 0)) for i in range(len(records))]
    return Plan(records, fits, batch, seed)


REPEATS = st.lists(st.integers(1, 5), min_size=1, max_size=9)


@patient
@given(REPEATS, st.integers(1, 5), st.integers(0, 2**63), st.integers(0, 9))
def test_every_epoch_holds_every_sample_once_in_batches_of_one_bucket(repeats, batch, seed, number):
    plan = make(repeats, (64, 128, 192), batch, seed)
    batches = plan.epoch(number)
    keys = [key for batch_ in batches for key in batch_]
    assert Counter((k.image, k.repeat) for k in keys) == Counter(
        (i, r) for i, n in enumerate(repeats) for r in range(n)
    )
    assert {k.epoch for k in keys} == {number}
    assert all(len({plan.fits[k.image].bucket for k in b}) == 1 and 0 < len(b) <= batch for b in batches)
    assert len(batches) == plan.batches_per_epoch


@patient
@given(REPEATS, st.lists(st.integers(1, 5), min_size=1, max_size=9))
def test_regularisation_matches_the_training_samples(train, reg):
    plan = make(train + reg, reg=range(len(train), len(train) + len(reg)))
    assert list(plan.uses[: len(train)]) == train
    extra = sum(plan.uses[len(train) :]) - sum(train)
    assert 0 <= extra < max(reg)


def test_order_is_the_seeds_and_the_epochs():
    plan = make([3] * 20)
    assert plan.epoch(1) == make([3] * 20).epoch(1)
    assert plan.epoch(1) != make([3] * 20, seed=1).epoch(1)

    def order(number):
        return [(k.image, k.repeat) for b in plan.epoch(number) for k in b]

    assert order(0) != order(1)


def test_fingerprint_follows_what_is_trained_not_where_it_lies():
    plan = make([1, 2])
    moved = [replace(r, path=Path("elsewhere") / r.path) for r in plan.records]
    assert Plan(moved, plan.fits, 2, 0).fingerprint == plan.fingerprint
    changed = [replace(r, caption="other") for r in plan.records]
    assert Plan(changed, plan.fits, 2, 0).fingerprint != plan.fingerprint
    assert make([1, 2], batch=3).fingerprint != plan.fingerprint


def test_a_year_taken_for_repeats_is_refused_by_name():
    records = [ImageRecord(Path("9999999_x/a.png"), (64, 64), "", 9999999)]
    with pytest.raises(DataError, match="9999999_x"):
        Plan(records, [Fit((64, 64), (64, 64), (0, 0))], 1, 0)


@patient
@given(st.integers(1, 50), st.integers(1, 9), st.integers(1, 500))
def test_steps_fit_into_the_epochs(batches, accumulation, steps):
    training = TrainingSettings(max_train_steps=steps, gradient_accumulation_steps=accumulation)
    got = length(batches, training)
    assert got.steps == steps
    assert (got.epochs - 1) * got.steps_per_epoch < steps <= got.epochs * got.steps_per_epoch
