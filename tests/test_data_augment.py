"""Pictures made anew at each use: cut inside the picture, around faces, colours a little other; each use its own."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from data_stage import Counting, batches, make_folder, make_loan, plan_of, ready, settings_of, spoil, warnings
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image

from lib_lora_train.data import augment, faces, images, keyed
from lib_lora_train.data.buckets import fits
from lib_lora_train.data.latents import Encoder, LatentCache
from lib_lora_train.data.loader import Loader
from lib_lora_train.data.types import ImageRecord
from lib_lora_train.errors import DataError, SettingsError
from lib_lora_train.settings.schema import DataSettings

patient = hypothesis_settings(max_examples=80, deadline=None)  # machines are busy
ALL = {"color_aug": True, "random_crop": True, "crop_aug": 0.3, "flip_aug": True}


@pytest.fixture(scope="module")
def lender():
    return make_loan()


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path)


@patient
@given(
    st.tuples(st.integers(20, 900), st.integers(20, 900)),
    st.booleans(),
    st.floats(0, 0.9),
    st.sampled_from(["", "2.0,4.0", "1,1", "8,3"]),
    st.tuples(st.integers(-50, 950), st.integers(-50, 950), st.integers(1, 500), st.integers(1, 500)),
    st.integers(0, 99),
)
def test_the_part_lies_inside_the_picture_and_keeps_its_bucket(size, anywhere, zoom, span, face, seed):
    data = DataSettings(resolution="256", random_crop=anywhere, crop_aug=zoom, face_crop_aug_range=span)
    record = ImageRecord(Path("a.png"), size, "", face=face)
    (fit,) = fits([record], data)
    got = augment.recut(record, fit, data, random.Random(seed))
    assert got.bucket == fit.bucket
    for crop, bucket, resized in zip(got.crop, got.bucket, got.resized, strict=True):
        assert 0 <= crop <= resized - bucket
    ratio = (got.resized[0] / got.resized[1]) / (size[0] / size[1])
    assert abs(ratio - 1) < 0.05 + 2 / min(got.resized), "not distorted more than rounding does"


def test_a_random_part_is_anywhere_and_a_zoom_as_large_as_asked():
    data = DataSettings(resolution="256", random_crop=True)
    record = ImageRecord(Path("a.png"), (256, 300), "")
    fit = fits([record], DataSettings(resolution="256", enable_bucket=False))[0]
    tops = {augment.recut(record, fit, data, random.Random(seed)).crop for seed in range(300)}
    assert {top for _, top in tops} == set(range(45)) and {left for left, _ in tops} == {0}
    zoomed = DataSettings(resolution="256", crop_aug=0.5)
    widths = [augment.recut(record, fit, zoomed, random.Random(seed)).resized[0] for seed in range(300)]
    assert min(widths) < 260 and 480 < max(widths) <= 512


def test_faces_fill_what_was_asked_for_and_stay_in_the_middle():
    data = DataSettings(resolution="256", enable_bucket=False, face_crop_aug_range="2.0,4.0")
    record = ImageRecord(Path("a.png"), (2000, 1500), "", face=(800, 700, 300, 280))
    (fit,) = fits([record], data)
    shares = []
    for seed in range(200):
        got = augment.recut(record, fit, data, random.Random(seed))
        scale = got.resized[0] / 2000
        shares.append(256 / (300 * scale))
        centre = [(c + 128) / scale for c in got.crop]
        assert abs(centre[0] - 800) < 30 and abs(centre[1] - 700) < 30
    assert 1.95 < min(shares) < 2.3 and 3.5 < max(shares) < 4.05


def test_a_small_picture_is_not_blurred_to_show_its_face_larger():
    data = DataSettings(resolution="256", enable_bucket=False, face_crop_aug_range="1.0,1.5")
    record = ImageRecord(Path("a.png"), (300, 280), "", face=(150, 140, 40, 40))
    (fit,) = fits([record], data)
    assert augment.recut(record, fit, data, random.Random(0)).resized == (300, 280)


@pytest.mark.parametrize(
    ("name", "face"),
    [("a_10_20_30_40.png", (10, 20, 30, 40)), ("a_b_10_20_30_40.png", (10, 20, 30, 40)), ("a_b_c_d.png", None),
     ("10_20_30_40.png", None), ("a_1_2_0_4.png", None)],
)  # fmt: skip
def test_faces_told_by_names(name, face):
    assert faces.told(Path(name)) == face


def test_a_range_of_nothing_is_refused_at_its_field(folder):
    with pytest.raises(SettingsError) as caught:
        plan_of(settings_of(folder, face_crop_aug_range="0,2"))
    assert caught.value.field == "face_crop_aug_range"


def test_without_opencv_faces_in_names_do_and_others_are_refused_in_words(lender, folder, monkeypatch):
    monkeypatch.setattr(faces.importlib, "import_module", lambda name: (_ for _ in ()).throw(ImportError(name)))
    settings = settings_of(folder, face_crop_aug_range="2,4")
    with pytest.raises(SettingsError, match="OpenCV") as caught:
        ready(lender, settings, LatentCache(None))
    assert caught.value.field == "face_crop_aug_range" and "opencv" in caught.value.remedy
    for path in folder.glob("*.png"):
        path.rename(path.with_name(f"{path.stem}_30_30_20_20.png"))
    _, plan = ready(lender, settings, LatentCache(None))
    assert {record.face for record in plan.records} == {(30, 30, 20, 20)}


class Finder:
    """A stand-in for OpenCV that finds one face at a known place."""

    class data:
        haarcascades = "."

    class CascadeClassifier:
        def __init__(self, path):
            assert path.endswith(".xml")

        def detectMultiScale(self, grey, factor, neighbours, minSize):
            assert grey.dtype == np.uint8 and max(grey.shape) <= 640
            return np.array([[10, 20, 100, 100], [0, 0, 30, 30]]) if grey.shape[1] == 640 else ()


def test_the_largest_face_found_is_told_in_the_pictures_own_pixels(monkeypatch):
    monkeypatch.setattr(faces.importlib, "import_module", lambda name: Finder)
    assert faces.find(np.zeros((640, 1280, 3), np.uint8)) == (120, 140, 200, 200)
    assert faces.find(np.zeros((64, 64, 3), np.uint8)) is None


def test_pictures_without_a_face_are_named_and_cut_as_others(lender, folder, monkeypatch):
    monkeypatch.setattr(faces.importlib, "import_module", lambda name: Finder)
    events, plan = ready(lender, settings_of(folder, face_crop_aug_range="2,4"), LatentCache(None))
    assert ["No face is found in 6 of 6" in text for text in warnings(events)] == [True]
    assert all(record.face is None for record in plan.records)


def test_real_opencv_runs_on_a_picture_without_a_face():
    pytest.importorskip("cv2")
    assert faces.find(np.full((200, 300, 3), 128, np.uint8)) is None


@patient
@given(st.integers(0, 999))
def test_colours_vary_a_little_and_grey_stays_grey(seed):
    ramp = torch.linspace(-1, 1, 64).reshape(1, 8, 8).expand(3, 8, 8)
    got = augment.coloured(ramp, random.Random(seed))
    assert (got.amax(0) - got.amin(0)).max() < 1e-4 and got.min() >= -1 and got.max() <= 1
    assert (got - ramp).abs().max() < 0.1
    red = torch.tensor([0.8, -0.6, -0.6]).view(3, 1, 1).expand(3, 2, 2)
    turned = augment.coloured(red, random.Random(seed))
    assert 0 < (turned - red).abs().max() < 0.5 and turned[0, 0, 0] > turned[1:, 0, 0].max()


def test_each_use_is_what_its_own_draws_make_of_the_picture_in_any_batch(lender, folder):
    """By another route: the file decoded, cut, coloured, mirrored and encoded by hand."""
    settings = settings_of(folder, **ALL, train_batch_size=3)
    _, plan = ready(lender, settings, LatentCache(None))
    seen = set()
    for batch in batches(lender, settings, LatentCache(None), plan):
        for row, key in enumerate(batch.keys):
            record = plan.records[key.image]
            fit = augment.recut(record, plan.fits[key.image], settings.data, keyed.rng(7, key, "crop"))
            picture = images.fitted(images.decode(record.path.read_bytes()), fit)
            mirrored = keyed.rng(7, key, "flip").random() < 0.5
            picture = augment.coloured(picture.flip(-1) if mirrored else picture, keyed.rng(7, key, "colour"))
            wanted = Encoder(lender)(picture[None])[0].sample(keyed.generator(7, key, "vae")) * 0.5
            torch.testing.assert_close(batch.latents[row], wanted, rtol=1e-4, atol=1e-5)
            left = fit.resized[0] - fit.bucket[0] - fit.crop[0] if mirrored else fit.crop[0]
            (w, h), bucket = record.size, fit.bucket
            assert batch.sizes[row].tolist() == [h, w, fit.crop[1], left, bucket[1], bucket[0]]
            seen.add((key.image, fit))
    assert len(seen) == len(plan.records) * 2, "two uses of a picture are cut differently"


def test_epochs_are_the_same_again_and_going_on_in_the_middle_too(lender, folder):
    settings = settings_of(folder, **ALL)
    _, plan = ready(lender, settings, LatentCache(None))
    whole = batches(lender, settings, LatentCache(None), plan, 2)
    rest = batches(lender, settings, LatentCache(None), plan, 2, 3)
    assert all(torch.equal(a.latents, b.latents) for a, b in zip(rest, whole[3:], strict=True))
    others = batches(lender, settings, LatentCache(None), plan, 3)
    assert not any(torch.equal(a.latents, b.latents) for a in whole for b in others)


def test_nothing_is_encoded_ahead_and_a_vae_batch_is_as_small_as_asked(lender, folder, tmp_path):
    loan = make_loan(Counting(lender.vae))
    settings, cache = settings_of(folder, **ALL, vae_batch_size=1), LatentCache(tmp_path / "cache")
    _, plan = ready(loan, settings, cache)
    assert loan.vae.count == 0
    sizes = []
    encode, loan.vae.encode = loan.vae.encode, lambda pictures: sizes.append(len(pictures)) or encode(pictures)
    next(Loader(plan, settings, cache, loan).batches(0))
    assert sizes == [1, 1] and not list((tmp_path / "cache").rglob("latents"))


@pytest.mark.parametrize("what", ["deleted", "changed"])
def test_a_picture_that_goes_during_the_run_stops_it_by_name(lender, folder, what):
    settings = settings_of(folder, random_crop=True)
    _, plan = ready(lender, settings, LatentCache(None))
    (folder / "4.png").unlink()
    if what == "changed":
        Image.new("RGB", (64, 64)).save(folder / "4.png")
    with pytest.raises(DataError, match="4.png") as caught:
        batches(lender, settings, LatentCache(None), plan)
    assert caught.value.remedy


def test_damaged_pictures_are_left_out_before_the_first_step(lender, folder):
    spoil(folder / "2.png")
    events, plan = ready(lender, settings_of(folder, color_aug=True), LatentCache(None))
    assert ["'2.png'" in text and "left out" in text for text in warnings(events)] == [True]
    assert [r.path.name for r in plan.records] == ["0.png", "1.png", "3.png", "4.png", "5.png"]


def test_masks_are_cut_as_their_pictures(lender, folder):
    """The picture's left half is transparent and black; where latents are encoded from black the mask is 0."""
    pixels = np.full((96, 96, 4), 255, np.uint8)
    pixels[:, :48] = 0
    Image.fromarray(pixels).save(folder / "0.png")
    settings = settings_of(folder, random_crop=True, crop_aug=0.5, alpha_mask=True, background="black", flip_aug=True)
    cache = LatentCache(None)
    _, plan = ready(lender, settings, cache)
    loader, shares = Loader(plan, settings, cache, lender), set()
    for numbered in [(0, keys) for epoch in range(3) for keys in plan.epoch(epoch)]:
        read = loader._read(numbered)
        for row, key in enumerate(read.keys):
            if plan.records[key.image].path.name == "0.png":
                cells = torch.nn.functional.avg_pool2d(read.made[row][None, 0] / 2 + 0.5, 8)[0]
                torch.testing.assert_close(read.masks[row], cells, atol=0.02, rtol=0)
                shares.add(round(cells.mean().item(), 2))
    assert len(shares) > 2
