"""Masks from transparency and from pictures beside: found, fitted, mirrored and counted like the picture itself."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from data_stage import batches, make_folder, make_loan, plan_of, ready, settings_of, warnings
from PIL import Image

from lib_lora_train.data.latents import LatentCache
from lib_lora_train.data.lint import lint
from lib_lora_train.data.plan import Plan
from lib_lora_train.data.scan import scan
from lib_lora_train.errors import DataError


@pytest.fixture(scope="module")
def lender():
    return make_loan()


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path)


def see_through(path, hidden):
    """The picture with its pixels in `hidden` (left, top, right, bottom) transparent."""
    pixels = np.asarray(Image.open(path).convert("RGBA")).copy()
    left, top, right, bottom = hidden
    pixels[top:bottom, left:right, 3] = 0
    Image.fromarray(pixels).save(path)


def mask(path, size, white):
    """Black but for the box `white`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((size[1], size[0]), np.uint8)
    left, top, right, bottom = white
    pixels[top:bottom, left:right] = 255
    Image.fromarray(pixels).save(path)


def by_image(lender, settings, cache=None, epochs=1):
    """Every (mask, sizes) of each picture, by file name."""
    cache = cache or LatentCache(None)
    _, plan = ready(lender, settings, cache)
    found = {}
    for epoch in range(epochs):
        for batch in batches(lender, settings, cache, plan, epoch):
            for row, key in enumerate(batch.keys):
                name = plan.records[key.image].path.name
                found.setdefault(name, []).append((batch.masks[row], batch.latents[row]))
    return found


def test_without_masks_there_are_none(lender, folder):
    settings, cache = settings_of(folder), LatentCache(None)
    _, plan = ready(lender, settings, cache)
    assert all(batch.masks is None for batch in batches(lender, settings, cache, plan))


def test_transparent_parts_do_not_count(lender, folder):
    see_through(folder / "0.png", (0, 0, 32, 64))
    found = by_image(lender, settings_of(folder, alpha_mask=True))
    wanted = torch.ones(8, 8)
    wanted[:, :4] = 0
    assert all(torch.equal(got, wanted) for got, _ in found["0.png"])
    others = [got for name, uses in found.items() if name != "0.png" for got, latents in uses]
    assert others and all((got == 1).all() for got in others), "pictures without transparency count whole"
    for uses in found.values():
        assert all(got.shape == latents.shape[1:] for got, latents in uses)


@pytest.mark.parametrize("where", ["masks/2_dog", "masks", "masks/2_DOG"])
def test_mask_pictures_are_found_by_folder_and_name(lender, folder, tmp_path, where):
    mask(tmp_path / where / "1.PNG", (96, 48), (0, 0, 48, 48))
    data = settings_of(folder, masked_loss=True, conditioning_data_dir=str(tmp_path / "masks"))
    got, latents = by_image(lender, data)["1.png"][0]
    width = latents.shape[2]
    assert torch.equal(got[:, : width // 2], torch.ones_like(got[:, : width // 2])) and not got[:, width // 2 :].any()


def test_masks_of_another_size_are_stretched_and_cut_with_the_picture(lender, folder, tmp_path):
    """3.png has 71x64 pixels and loses 3 and 4 columns; white is what lies left of its middle."""
    mask(tmp_path / "masks/3.png", (142, 32), (0, 0, 71, 32))
    settings = settings_of(folder, masked_loss=True, conditioning_data_dir=str(tmp_path / "masks"))
    got, _ = by_image(lender, settings)["3.png"][0]
    assert got.sum().item() == pytest.approx(8 * (35.5 - 3) / 8, abs=0.2)
    assert (got[:, :4] > 0.99).all() and (got[:, 5:] < 0.01).all()


def test_masks_are_mirrored_with_their_pictures(lender, folder, tmp_path):
    mask(tmp_path / "masks/0.png", (64, 64), (0, 0, 32, 64))
    settings = settings_of(folder, masked_loss=True, conditioning_data_dir=str(tmp_path / "masks"), flip_aug=True)
    cache = LatentCache(tmp_path / "cache")
    _, plan = ready(lender, settings, cache)
    plain = settings_of(folder, flip_aug=True)
    seen = set()
    for epoch in range(4):
        masked = batches(lender, settings, cache, plan, epoch)
        bare = batches(lender, plain, cache, plan, epoch)
        for one, other in zip(masked, bare, strict=True):
            assert torch.equal(one.latents, other.latents), "a mask changes nothing of the picture"
            for row, key in enumerate(one.keys):
                if plan.records[key.image].path.name == "0.png":
                    left, right = one.masks[row][:, :4].mean().item(), one.masks[row][:, 4:].mean().item()
                    assert {left, right} == {0.0, 1.0}
                    seen.add(left)
    assert seen == {0.0, 1.0}


def test_a_mask_picture_wins_over_transparency(lender, folder, tmp_path):
    see_through(folder / "0.png", (0, 0, 64, 64))
    mask(tmp_path / "masks/0.png", (64, 64), (0, 0, 64, 64))
    both = settings_of(folder, alpha_mask=True, masked_loss=True, conditioning_data_dir=str(tmp_path / "masks"))
    assert all((got == 1).all() for got, _ in by_image(lender, both)["0.png"])


def test_a_picture_without_a_mask_counts_whole_and_is_named(folder, tmp_path):
    mask(tmp_path / "masks/0.png", (64, 64), (0, 0, 9, 9))
    settings = settings_of(folder, masked_loss=True, conditioning_data_dir=str(tmp_path / "masks"))
    (found,) = [one for one in lint(scan(settings.data, settings.captions), "", settings.data) if one.kind == "masks"]
    assert "5 of 6" in found.text and found.images == [1, 2, 3, 4, 5]
    bare = settings_of(folder)
    assert not [one for one in lint(scan(bare.data, bare.captions), "", bare.data) if one.kind == "masks"]


def test_an_all_black_mask_is_said(lender, folder, tmp_path):
    mask(tmp_path / "masks/0.png", (64, 64), (0, 0, 0, 0))
    settings = settings_of(folder, masked_loss=True, conditioning_data_dir=str(tmp_path / "masks"))
    events, _ = ready(lender, settings, LatentCache(None))
    assert ["teach nothing" in text and "0.png" in text for text in warnings(events)] == [True]


def test_masks_come_from_the_cache_the_second_time(lender, folder, tmp_path, monkeypatch):
    mask(tmp_path / "masks/0.png", (64, 64), (0, 0, 32, 64))
    settings = settings_of(folder, masked_loss=True, conditioning_data_dir=str(tmp_path / "masks"))
    first = by_image(lender, settings, LatentCache(tmp_path / "cache"))
    monkeypatch.setattr("lib_lora_train.data.masks._read", lambda record: pytest.fail("read again"))
    second = by_image(lender, settings, LatentCache(tmp_path / "cache"))
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(first["0.png"], second["0.png"], strict=True))


def test_another_mask_is_another_plan(lender, folder, tmp_path):
    settings = settings_of(folder, masked_loss=True, conditioning_data_dir=str(tmp_path / "masks"))
    prints = []
    for white in ((0, 0, 9, 9), (0, 0, 30, 9)):
        mask(tmp_path / "masks/0.png", (64, 64), white)
        prints.append(ready(lender, settings, LatentCache(None))[1].fingerprint)
    prints.append(ready(lender, settings_of(folder), LatentCache(None))[1].fingerprint)
    assert len(set(prints)) == 3


@pytest.mark.parametrize("folder_of_masks", ["", "nowhere"])
def test_a_missing_folder_of_masks_is_refused_at_its_field(folder, tmp_path, folder_of_masks):
    path = str(tmp_path / folder_of_masks) if folder_of_masks else ""
    with pytest.raises(DataError) as caught:
        plan_of(settings_of(folder, masked_loss=True, conditioning_data_dir=path))
    assert caught.value.field == "conditioning_data_dir" and "masks" in caught.value.message


def test_a_broken_mask_stops_the_run_by_name(lender, folder, tmp_path):
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks/0.png").write_bytes(b"no picture")
    settings = settings_of(folder, masked_loss=True, conditioning_data_dir=str(tmp_path / "masks"))
    with pytest.raises(DataError, match="mask.*0.png"):
        ready(lender, settings, LatentCache(None))


def test_plans_without_masks_keep_their_fingerprint(folder):
    """A run of an older version goes on."""
    plan = plan_of(settings_of(folder))
    facts = [(r.digest, r.caption, r.repeats, r.is_reg, f) for r, f in zip(plan.records, plan.fits, strict=True)]
    old = hashlib.blake2b(repr((plan.batch_size, plan.seed, facts)).encode(), digest_size=16).hexdigest()
    assert Plan(plan.records, plan.fits, plan.batch_size, plan.seed).fingerprint == old
