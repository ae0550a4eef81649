"""Buckets: sd-scripts' numbers under its own rule, and what must hold of ours for any picture."""

from __future__ import annotations

from pathlib import Path

import golden_data
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lib_lora_train.data import buckets
from lib_lora_train.data.types import ImageRecord
from lib_lora_train.errors import SettingsError
from lib_lora_train.settings.schema import DataSettings

patient = hypothesis_settings(max_examples=60, deadline=None)  # machines are busy


def golden():
    return golden_data.facts("02_buckets")


def settings(case, **more):
    names = {"min_bucket_reso": "min", "max_bucket_reso": "max", "bucket_reso_steps": "step"}
    given_ = {name: case.get(name, case.get(short)) for name, short in names.items()}
    given_ = {name: value for name, value in given_.items() if value is not None}
    return DataSettings(resolution="x".join(map(str, case["resolution"])), **given_, **more)


def record(width, height):
    return ImageRecord(Path("a.png"), (width, height), "")


def fit(width, height, data=None, **changes):
    return buckets.fits([record(width, height)], data or DataSettings(**changes))[0]


@pytest.mark.golden
@pytest.mark.parametrize(
    "case", golden()["bucket_lists"], ids=lambda c: f"{c['resolution']} {c['min']}-{c['max']}/{c['step']}"
)
def test_bucket_lists(case):
    w, h = case["resolution"]
    rules = buckets.BucketRules((w, h), case["min"], case["max"], case["step"])
    assert [list(size) for size in buckets.bucket_sizes(rules)] == case["bucket_list"]


@pytest.mark.golden
@pytest.mark.parametrize(
    "case", golden()["adjust_min_max"], ids=lambda c: f"{c['resolution']} {c['min']}-{c['max']}/{c['step']}"
)
def test_minimum_and_maximum_are_put_on_the_step_or_refused(case):
    if "raises" in case:
        with pytest.raises(SettingsError) as caught:
            buckets.rules(settings(case))
        assert caught.value.field in case["raises"]
    else:
        rules = buckets.rules(settings(case))
        assert [rules.low, rules.high] == case["result"]


@pytest.mark.golden
@pytest.mark.parametrize(
    "case", golden()["assignments"], ids=lambda c: f"{c['resolution']} {c['no_upscale']} {c['enable_bucket']}"
)
def test_assignments_of_sd_scripts(case):
    data = settings(
        case, bucket_rule="sd-scripts", enable_bucket=case["enable_bucket"], bucket_no_upscale=bool(case["no_upscale"])
    )
    columns = golden()["row_columns"]
    failing = {tuple(row[:2]) for row in case["sizes_that_fail"]}
    for row in case["rows"]:
        named = dict(zip(columns, row, strict=True))
        size = (named["image_w"], named["image_h"])
        if size in failing:
            continue
        got = fit(*size, data)
        assert got.bucket == (named["bucket_w"], named["bucket_h"]), size
        assert got.resized == (named["resized_w"], named["resized_h"]), size
        assert got.crop == (named["crop_left"], named["crop_top"]), size
    for width, height in failing:
        check(fit(width, height, data), 1)


def check(got, cell):
    """What any fit must satisfy."""
    assert min(got.bucket) > 0
    assert all(side % cell == 0 for side in got.bucket)
    assert all(r >= b for r, b in zip(got.resized, got.bucket, strict=True))
    for at, bucket, resized in zip(got.crop, got.bucket, got.resized, strict=True):
        assert at >= 0 and at + bucket <= resized


sides = st.one_of(st.integers(1, 40), st.integers(1, 3000), st.integers(1, 100_000))
resolutions = st.builds(lambda w, h: (w * 8, h * 8), st.integers(4, 160), st.integers(4, 160))


@st.composite
def data_settings(draw, **fixed):
    w, h = draw(resolutions)
    step = draw(st.sampled_from([8, 32, 64]))
    low = draw(st.integers(8, max(8, min(w, h))))
    return DataSettings(
        resolution=f"{w}x{h}", bucket_reso_steps=step, min_bucket_reso=low,
        max_bucket_reso=draw(st.integers(max(w, h), 2 * max(w, h))),
        bucket_no_upscale=draw(st.booleans()), **fixed,
    )  # fmt: skip


@patient
@given(sides, sides, data_settings())
def test_nearest_ratio_holds_its_promises(width, height, data):
    try:
        rules = buckets.rules(data)
    except SettingsError:  # a step larger than the resolution
        return
    got = fit(width, height, data)
    check(got, data.bucket_reso_steps)
    assert all(rules.low <= side <= rules.high for side in got.bucket)
    assert got.bucket[0] * got.bucket[1] <= rules.area
    if data.bucket_no_upscale and min(width, height) >= rules.low:
        assert got.resized[0] <= width and got.resized[1] <= height


@patient
@given(sides, sides, data_settings())
def test_portrait_and_landscape_mirror_each_other(width, height, data):
    try:
        lying, standing = fit(width, height, data), fit(height, width, data)
    except SettingsError:
        return
    assert (lying.bucket, lying.resized, lying.crop) == (
        standing.bucket[::-1], standing.resized[::-1], standing.crop[::-1],
    )  # fmt: skip


@patient
@given(sides, sides, data_settings(bucket_rule="sd-scripts"))
def test_sd_scripts_rule_never_fails_either(width, height, data):
    try:
        check(fit(width, height, data), data.bucket_reso_steps)
    except SettingsError:
        return


@patient
@given(sides, sides)
def test_no_bucket_of_the_list_is_nearer_in_ratio(width, height):
    got = fit(width, height)
    ratio = width / height

    def error(size):
        return max(size[0] / size[1] / ratio, ratio * size[1] / size[0])

    sizes = buckets.bucket_sizes(buckets.rules(DataSettings()))
    assert error(got.bucket) <= min(map(error, sizes)) * (1 + 1e-9)


def test_ratio_is_compared_as_a_quotient():
    """1:1.2 lies nearer to 1:1 (factor 1.2) than to 1:1.5, whichever way round; differences of ratios disagree."""
    assert fit(448, 560).bucket == fit(560, 448).bucket[::-1]
    rule = {"bucket_rule": "sd-scripts"}
    uneven = [
        (w, h)
        for w in range(300, 900, 20)
        for h in range(300, 900, 20)
        if fit(w, h, **rule).bucket != fit(h, w, **rule).bucket[::-1]
    ]
    assert uneven, "sd-scripts treats portrait and landscape differently; ours must not be the same code"


@pytest.mark.parametrize("resolution", ["500", "513x777", "12"])
def test_one_size_for_all_is_rounded_to_latent_cells(resolution):
    check(fit(640, 480, enable_bucket=False, resolution=resolution), 8)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"resolution": "4"}, "resolution"),
        ({"bucket_reso_steps": 12}, "bucket_reso_steps"),
        ({"resolution": "64", "min_bucket_reso": 256}, "min_bucket_reso"),
    ],
)
def test_contradictions_name_the_field(changes, field):
    with pytest.raises(SettingsError) as caught:
        fit(640, 480, **changes)
    assert caught.value.field == field and caught.value.remedy
