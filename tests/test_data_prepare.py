"""Filling the cache of latents with a real (tiny) VAE: what is kept, bad pictures, damage, changes during a run."""

from __future__ import annotations

import copy
import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from data_stage import (
    SIZES,
    Counting,
    batches,
    entries,
    make_folder,
    make_loan,
    make_vae,
    plan_of,
    ready,
    settings_of,
    spoil,
    warnings,
)
from PIL import Image

from lib_lora_train.data.latents import Encoder, LatentCache
from lib_lora_train.data.loader import Loader, prepare
from lib_lora_train.errors import DataError


@pytest.fixture(scope="module")
def vae():
    return make_vae()


@pytest.fixture
def loan(vae):
    return make_loan(vae)


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path)


def test_one_vae_batch_per_item(loan, folder):
    loan.vae = Counting(loan.vae)
    counts = [0]
    for _ in prepare(loan, plan_of(settings_of(folder)), settings_of(folder, vae_batch_size=2), LatentCache(None)):
        counts.append(loan.vae.count)
    assert max(b - a for a, b in zip(counts, counts[1:], strict=False)) <= 2 and counts[-1] == len(SIZES)


def test_the_second_run_encodes_and_reads_nothing(loan, folder, tmp_path, monkeypatch):

    for path in folder.iterdir():
        os.utime(path, (time.time() - 60,) * 2)
    settings, cache = settings_of(folder), tmp_path / "cache"
    _, plan = ready(loan, settings, LatentCache(cache))
    first = batches(loan, settings, LatentCache(cache), plan)
    loan.vae = Counting(loan.vae)
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda p: pytest.fail(f"{p} read") if p.suffix == ".png" else read(p))
    again = LatentCache(cache)
    _, plan2 = ready(loan, settings, again)
    second = batches(loan, settings, again, plan2)
    assert loan.vae.count == 0 and plan2.fingerprint == plan.fingerprint
    assert all(torch.equal(a.latents, b.latents) for a, b in zip(first, second, strict=True))


def test_another_vae_or_bucket_or_background_is_another_entry(loan, folder, tmp_path):
    cache = tmp_path / "cache"
    ready(loan, settings_of(folder), LatentCache(cache))
    number = len(entries(cache))
    for changes in ({"background": "black"}, {"resolution": "96"}):
        ready(loan, settings_of(folder, **changes), LatentCache(cache))
        assert len(entries(cache)) > number
        number = len(entries(cache))
    loan.vae = make_vae(1)
    ready(loan, settings_of(folder), LatentCache(cache))
    assert len(entries(cache)) == number + len(SIZES)


def damage(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


def test_damage_before_a_run_is_said_and_repaired(loan, folder, tmp_path):
    settings = settings_of(folder)
    _, plan = ready(loan, settings, LatentCache(tmp_path))
    first = batches(loan, settings, LatentCache(tmp_path), plan)
    damage(entries(tmp_path)[0])
    entries(tmp_path)[1].write_bytes(b"")
    events, plan = ready(loan, settings, LatentCache(tmp_path))
    assert any("2 cached latents were damaged" in text for text in warnings(events))
    again = batches(loan, settings, LatentCache(tmp_path), plan)
    assert all(torch.equal(a.latents, b.latents) for a, b in zip(first, again, strict=True))


def test_damage_during_a_run_is_repaired_on_the_callers_thread(loan, folder, tmp_path):
    settings, cache = settings_of(folder), LatentCache(tmp_path)
    _, plan = ready(loan, settings, cache)
    first = batches(loan, settings, cache, plan)
    for path in entries(tmp_path):
        path.unlink()
    threads = set()

    class Watching(Counting):
        def encode(self, pictures):
            threads.add(threading.current_thread())
            return super().encode(pictures)

    loan.vae = Watching(loan.vae)
    loader = Loader(plan, settings, cache, loan)
    again = list(loader.batches(0))
    assert all(torch.equal(a.latents, b.latents) for a, b in zip(first, again, strict=True))
    assert threads == {threading.current_thread()} and len(loader.warnings) >= len(SIZES)


def test_pictures_deleted_or_changed_after_caching_do_not_matter(loan, folder, tmp_path):
    settings, cache = settings_of(folder), LatentCache(tmp_path / "cache")
    _, plan = ready(loan, settings, cache)
    first = batches(loan, settings, cache, plan)
    (folder / "0.png").unlink()
    Image.new("RGB", (8, 8)).save(folder / "1.png")
    again = batches(loan, settings, cache, plan)
    assert all(torch.equal(a.latents, b.latents) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("when", ["before", "during"])
@pytest.mark.parametrize("what", ["deleted", "changed"])
def test_pictures_deleted_or_changed_before_caching_stop_the_run_by_name(loan, folder, when, what):
    settings = settings_of(folder)
    plan = plan_of(settings)
    victim = folder / "5.png"  # the largest bucket comes last

    def act():
        victim.unlink()
        if what == "changed":
            Image.new("RGB", (128, 64)).save(victim)

    generator = prepare(loan, plan, settings, LatentCache(None))
    if when == "before":
        act()
    with pytest.raises(DataError) as caught:
        for event in generator:
            if when == "during" and event.text == "Looking up latents":
                act()
    assert str(victim) in caught.value.message and caught.value.remedy


def test_a_picture_that_cannot_be_decoded_is_left_out_and_the_plan_knows(loan, folder):
    spoil(folder / "2.png")
    settings = settings_of(folder, flip_aug=True)
    planned = plan_of(settings)
    assert len(planned.records) == len(SIZES)
    cache = LatentCache(None)
    events, plan = ready(loan, settings, cache, planned)
    assert [("'2.png'" in text, "left out" in text) for text in warnings(events)] == [(True, True)]
    assert [r.path.name for r in plan.records] == ["0.png", "1.png", "3.png", "4.png", "5.png"]
    assert plan.samples_per_epoch == 10
    assert sum(len(b.keys) for b in batches(loan, settings, cache, plan)) == 10


def test_nothing_left_is_an_error(loan, folder):
    for i in range(len(SIZES)):
        spoil(folder / f"{i}.png")
    settings = settings_of(folder)
    with pytest.raises(DataError, match="None of the pictures"):
        ready(loan, settings, LatentCache(None))


def test_a_read_only_cache_is_said_and_survived(loan, folder, tmp_path):
    (tmp_path / "cache").write_text("a file in the way")
    settings, cache = settings_of(folder), LatentCache(tmp_path / "cache")
    events, plan = ready(loan, settings, cache)
    assert any("cannot be kept on disk" in text for text in warnings(events))
    assert batches(loan, settings, cache, plan)


def test_stopping_while_encoding_keeps_what_is_done(loan, folder, tmp_path):
    settings = settings_of(folder)
    generator = prepare(loan, plan_of(settings), settings, LatentCache(tmp_path))
    while not (event := next(generator)).text.startswith("Encoding") or event.done < 3:
        pass
    generator.close()
    assert len(entries(tmp_path)) == 3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_vaes_are_encoded_exactly_on_a_cpu(loan, folder, dtype):
    half = copy.deepcopy(loan.vae).to(dtype)
    weights = {name: tensor.clone() for name, tensor in half.state_dict().items()}
    picture = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    got = Encoder(replace(loan, vae=half))(picture)[0]
    want = copy.deepcopy(half).float().encode(picture).latent_dist
    assert torch.equal(got.mean, want.mean[0]) and got.mean.dtype == torch.float32
    assert all(torch.equal(half.state_dict()[n], t) and half.state_dict()[n].dtype == dtype for n, t in weights.items())


def test_a_vae_that_overflows_in_half_precision_is_upcast_as_a_copy(loan):
    """As SDXL's on a card: a processor would have encoded in float32 at once."""

    class OnCard(Encoder):
        slow_in_half = ()

    half = copy.deepcopy(loan.vae).half()
    half.encoder.conv_in.weight.data *= 6e4
    weights = {name: tensor.clone() for name, tensor in half.state_dict().items()}
    encoder = OnCard(replace(loan, vae=half))
    try:
        quiet = encoder(torch.full((1, 3, 32, 32), 1e-3))[0]
    except RuntimeError as error:  # torch 2.1 has no half convolutions on a processor
        pytest.skip(str(error))
    assert not encoder.upcast and torch.isfinite(quiet.mean).all()
    picture = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    got = encoder(picture)[0]
    assert encoder.upcast
    assert torch.equal(got.mean, copy.deepcopy(half).float().encode(picture).latent_dist.mean[0])
    assert all(torch.equal(half.state_dict()[n], t) and t.dtype == torch.float16 for n, t in weights.items())


def test_a_vae_that_gives_nan_is_named(loan):
    broken = copy.deepcopy(loan.vae)
    broken.encoder.conv_in.weight.data.fill_(float("nan"))
    with pytest.raises(DataError, match="VAE"):
        Encoder(replace(loan, vae=broken))(torch.zeros(1, 3, 32, 32))
