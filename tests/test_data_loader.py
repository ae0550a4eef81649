"""From prepared pictures to batches: what they hold, and that each sample is its own."""

from __future__ import annotations

import threading

import msgspec
import pytest
import torch
from data_stage import (
    SIZES,
    batches,
    entries,
    make_folder,
    make_loan,
    make_vae,
    plan_of,
    ready,
    settings_of,
)
from PIL import Image

from lib_lora_train.data import images, keyed
from lib_lora_train.data.latents import Encoder, LatentCache
from lib_lora_train.data.loader import Loader
from lib_lora_train.events import Phase


@pytest.fixture(scope="module")
def vae():
    return make_vae()


@pytest.fixture
def loan(vae):
    return make_loan(vae)


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path)


@pytest.mark.parametrize("on_disk", [True, False])
@pytest.mark.parametrize("vae_batch", [1, 3])
def test_batches_hold_what_the_vae_makes_of_each_picture(loan, folder, tmp_path, on_disk, vae_batch):
    settings = settings_of(folder, vae_batch_size=vae_batch)
    cache = LatentCache(tmp_path / "cache" if on_disk else None)
    events, plan = ready(loan, settings, cache)
    assert all(isinstance(event, Phase) for event in events)
    assert (events[-1].done, events[-1].total) == (len(SIZES), len(SIZES))
    found = batches(loan, settings, cache, plan)
    assert sum(len(b.keys) for b in found) == 2 * len(SIZES)
    for batch in found:
        assert batch.latents.dtype == torch.float32 and batch.latents.device.type == "cpu"
        for i, key in enumerate(batch.keys):
            fit = plan.fits[key.image]
            picture = images.fitted(images.decode(plan.records[key.image].path.read_bytes()), fit)
            latents = loan.vae.encode(picture[None]).latent_dist
            away = (batch.latents[i] / loan.vae_scale - latents.mean[0]) / latents.std[0]
            assert batch.latents.shape[1:] == (4, fit.bucket[1] // 8, fit.bucket[0] // 8)
            assert 0.5 < away.std() < 1.6, "a standard normal draw around the mean"
            assert batch.captions[i] == plan.records[key.image].caption
            w, h = plan.records[key.image].size
            assert batch.sizes[i].tolist() == [h, w, fit.crop[1], fit.crop[0], fit.bucket[1], fit.bucket[0]]
    assert len(entries(tmp_path)) == (len(SIZES) if on_disk else 0)


def test_a_sample_is_the_same_in_any_batch_and_other_in_every_use(loan, folder):
    def by_key(**changes):
        settings, cache = settings_of(folder, **changes), LatentCache(None)
        _, plan = ready(loan, settings, cache)
        loader = Loader(plan, settings, cache, loan)
        return {
            key: (batch.latents[i], batch.captions[i])
            for epoch in (0, 1)
            for batch in loader.batches(epoch)
            for i, key in enumerate(batch.keys)
        }

    random = {"shuffle_caption": True, "caption_dropout_rate": 0.2, "flip_aug": True}
    alone, together = by_key(train_batch_size=1, **random), by_key(train_batch_size=3, **random)
    assert alone.keys() == together.keys()
    assert all(torch.equal(alone[k][0], together[k][0]) and alone[k][1] == together[k][1] for k in alone)
    draws = [latents for key, (latents, _) in alone.items() if key.image == 0]
    assert len(draws) == 4 and not any(torch.equal(a, b) for a in draws for b in draws if a is not b)
    assert len({text for _, text in alone.values()}) > len(SIZES)
    other = by_key(train_batch_size=1, seed=8, **random)
    assert not any(torch.equal(alone[k][0], other[k][0]) for k in alone)


def test_mirrored_pictures_are_encoded_mirrored_and_their_crop_too(loan, folder, tmp_path):
    settings, cache = settings_of(folder, flip_aug=True), LatentCache(tmp_path)
    _, plan = ready(loan, settings, cache)
    assert len(entries(tmp_path)) == 2 * len(SIZES)
    lefts, sides = set(), set()
    for batch in (b for epoch in range(4) for b in batches(loan, settings, cache, plan, epoch)):
        for i, key in enumerate(batch.keys):
            record, fit = plan.records[key.image], plan.fits[key.image]
            picture = images.fitted(images.decode(record.path.read_bytes()), fit)
            made = [
                Encoder(loan)(side[None])[0].sample(keyed.generator(7, key, "vae")) * 0.5
                for side in (picture, picture.flip(-1))
            ]
            same = [torch.allclose(batch.latents[i], latents, atol=1e-5) for latents in made]
            assert sum(same) == 1
            sides.add(same[1])
            if record.size == (71, 64):
                lefts.add(batch.sizes[i, 3].item())
    assert sides == {True, False}
    fit = plan.fits[3]
    assert lefts == {3, 4} and fit.crop[0] == 3


def test_going_on_in_the_middle_of_an_epoch(loan, folder):
    settings, cache = settings_of(folder), LatentCache(None)
    _, plan = ready(loan, settings, cache)
    whole = batches(loan, settings, cache, plan, 3)
    rest = batches(loan, settings, cache, plan, 3, 4)
    assert [b.keys for b in rest] == [b.keys for b in whole[4:]]
    assert all(torch.equal(a.latents, b.latents) for a, b in zip(rest, whole[4:], strict=True))


def test_regularisation_weighs_differently(loan, folder):
    reg = folder.parent / "reg" / "1_animal"
    reg.mkdir(parents=True)
    Image.new("RGB", (64, 64), "red").save(reg / "r.png")
    settings, cache = settings_of(folder, prior_loss_weight=0.25), LatentCache(None)
    _, plan = ready(loan, settings, cache)
    found = batches(loan, settings, cache, plan)
    weights = torch.cat([b.loss_weights for b in found])
    is_reg = torch.cat([b.is_reg for b in found])
    assert is_reg.sum() == (~is_reg).sum() == 12
    assert weights.dtype == torch.float32
    assert (weights[is_reg] == 0.25).all() and (weights[~is_reg] == 1).all()


def test_an_abandoned_epoch_leaves_no_thread(loan, folder):
    settings, cache = settings_of(folder), LatentCache(None)
    _, plan = ready(loan, settings, cache)
    before = threading.active_count()
    iterator = Loader(plan, settings, cache, loan).batches(0)
    next(iterator)
    iterator.close()
    assert threading.active_count() == before


def test_settings_are_the_only_thing_that_decides(folder, loan):
    """Two plans from equal settings are equal; the records are frozen, so nothing drifts between epochs."""
    settings = settings_of(folder)
    assert plan_of(settings).epoch(5) == plan_of(msgspec.structs.replace(settings)).epoch(5)
