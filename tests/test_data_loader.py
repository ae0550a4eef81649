"""From pictures to batches with a real (tiny) VAE: caching, damage, changes during a run, and keyed randomness."""

from __future__ import annotations

import copy
import threading
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image

from lib_lora_train.data import ahead as ahead_module
from lib_lora_train.data import images, keyed
from lib_lora_train.data.buckets import fits
from lib_lora_train.data.latents import Encoder, LatentCache
from lib_lora_train.data.loader import Loader, prepare
from lib_lora_train.data.plan import Plan
from lib_lora_train.data.scan import scan
from lib_lora_train.data.text_cache import TextCache
from lib_lora_train.errors import DataError
from lib_lora_train.events import Phase, Warned
from lib_lora_train.families.loan import Conditioning, Identity, Loan
from lib_lora_train.settings.load import from_mapping

SIZES = [(64, 64), (96, 48), (48, 96), (71, 64), (64, 64), (128, 64)]


class Letters:
    """Conditioning from an embedding of letters; counts what it encodes."""

    name, latent_channels, latent_factor = "SD1", 4, 8

    def __init__(self):
        self.encoded = []

    def encode_text(self, loan, captions, max_token_length, clip_skip, dtype=torch.float32, weighted=False):
        self.encoded += captions
        ids = torch.tensor([[ord(c) % 50 for c in f"{caption:8.8}"] for caption in captions])
        context = loan.text_encoders[0](ids) * clip_skip * (2 if weighted else 1)
        return Conditioning(context, context.mean(1))


def make_vae(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(8, 8, 8, 8), norm_num_groups=4, latent_channels=4,
        ).eval().requires_grad_(False)  # fmt: skip


@pytest.fixture(scope="module")
def vae():
    return make_vae()


@pytest.fixture
def loan(vae):
    text = torch.nn.Embedding.from_pretrained(torch.randn(50, 6, generator=torch.Generator().manual_seed(0)))
    return Loan(
        Letters(), torch.nn.Linear(1, 1), [text], [], vae, torch.ones(10), "epsilon", False, 0.5, 1,
        Identity("tiny"), torch.device("cpu"),
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "pictures" / "2_dog"
    root.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i, (w, h) in enumerate(SIZES):
        Image.fromarray(rng.integers(0, 256, (h, w, 3), np.uint8)).save(root / f"{i}.png")
        (root / f"{i}.txt").write_text(f"sks, tag{i}, more")
    return root


def settings_of(folder, **changes):
    base = {
        "train_data_dir": str(folder.parent), "resolution": "64", "min_bucket_reso": 32, "max_bucket_reso": 128,
        "bucket_reso_steps": 32, "train_batch_size": 2, "seed": 7,
    }  # fmt: skip
    return from_mapping({**base, **changes})


def plan_of(settings):
    found = scan(settings.data, settings.captions, "sks")
    training = settings.training
    return Plan(found.records, fits(found.records, settings.data), training.train_batch_size, training.seed)


def drain(generator):
    """(events, result) of a generator."""
    events = []
    while True:
        try:
            events.append(next(generator))
        except StopIteration as end:
            return events, end.value


def ready(loan, settings, cache, plan=None):
    return drain(prepare(loan, plan or plan_of(settings), settings, cache))


def batches(loan, settings, cache, plan, epoch=0, start=0, **more):
    return list(Loader(plan, settings, cache, loan, **more).batches(epoch, start))


def warnings(events):
    return [event.text for event in events if isinstance(event, Warned)]


class Counting(torch.nn.Module):
    """A VAE that tells how many pictures it encoded."""

    def __init__(self, vae):
        super().__init__()
        self.vae, self.count = vae, 0

    def encode(self, pictures):
        self.count += len(pictures)
        return self.vae.encode(pictures)

    def state_dict(self, *args, **kwargs):
        return self.vae.state_dict(*args, **kwargs)


def entries(cache_folder):
    return sorted(Path(cache_folder).rglob("*.cache"))


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


def test_one_vae_batch_per_item(loan, folder):
    loan.vae = Counting(loan.vae)
    counts = [0]
    for _ in prepare(loan, plan_of(settings_of(folder)), settings_of(folder, vae_batch_size=2), LatentCache(None)):
        counts.append(loan.vae.count)
    assert max(b - a for a, b in zip(counts, counts[1:], strict=False)) <= 2 and counts[-1] == len(SIZES)


def test_the_second_run_encodes_and_reads_nothing(loan, folder, tmp_path, monkeypatch):
    import os
    import time

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


def spoil(path):
    """Damage in the middle that leaves header and end as they were."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 64] = b"\xff" * 64
    path.write_bytes(data)


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


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_vaes_are_encoded_exactly_on_a_cpu(loan, folder, dtype):
    half = copy.deepcopy(loan.vae).to(dtype)
    weights = {name: tensor.clone() for name, tensor in half.state_dict().items()}
    picture = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    got = Encoder(replace(loan, vae=half))(picture)[0]
    want = copy.deepcopy(half).float().encode(picture).latent_dist
    assert torch.equal(got.mean, want.mean[0]) and got.mean.dtype == torch.float32
    assert all(torch.equal(half.state_dict()[n], t) and half.state_dict()[n].dtype == dtype for n, t in weights.items())


def test_a_vae_that_gives_nan_is_named(loan):
    broken = copy.deepcopy(loan.vae)
    broken.encoder.conv_in.weight.data.fill_(float("nan"))
    with pytest.raises(DataError, match="VAE"):
        Encoder(replace(loan, vae=broken))(torch.zeros(1, 3, 32, 32))


def test_text_is_encoded_once_and_comes_with_the_batch(loan, folder, tmp_path):
    settings, cache = settings_of(folder, caption_dropout_rate=0.3), LatentCache(None)
    _, plan = ready(loan, settings, cache)
    captions = [record.caption for record in plan.records] + [""]
    texts = TextCache(tmp_path)
    events = list(texts.fill(loan, captions + captions, 75, 2))
    assert events and all(event.name == "text" for event in events)
    assert sorted(loan.family.encoded) == sorted(captions)
    list(TextCache(tmp_path).fill(loan, captions, 75, 2))
    assert len(loan.family.encoded) == len(captions), "cached on disk"
    for batch in batches(loan, settings, cache, plan, texts=texts):
        want = Letters().encode_text(loan, batch.captions, 75, 2)
        assert torch.equal(batch.conditioning.context, want.context)
        assert torch.equal(batch.conditioning.pooled, want.pooled)


def test_text_of_another_encoder_length_or_clip_skip_is_another_entry(loan, tmp_path):
    texts = TextCache(tmp_path)
    list(texts.fill(loan, ["a"], 75, 1))
    for changes in ((150, 1), (75, 2)):
        list(texts.fill(loan, ["a"], *changes))
    with torch.no_grad():
        loan.text_encoders[0].weight += 1
    list(texts.fill(loan, ["a"], 75, 1))
    assert len(entries(tmp_path)) == 4 and texts.get(["unheard of"]) is None


def test_reading_ahead_keeps_order_delivers_errors_and_ends():
    before = threading.active_count()
    assert list(ahead_module.ahead(lambda x: x * x, range(50), threads=3)) == [x * x for x in range(50)]
    made = []
    iterator = ahead_module.ahead(made.append, range(1000), depth=3)
    next(iterator)
    iterator.close()
    assert len(made) <= 6

    def fail(x):
        return 1 // (3 - x)

    got = []
    with pytest.raises(ZeroDivisionError):
        for value in ahead_module.ahead(fail, range(9)):
            got.append(value)
    assert got == [0, 0, 1] and threading.active_count() == before


def test_an_abandoned_epoch_leaves_no_thread(loan, folder):
    settings, cache = settings_of(folder), LatentCache(None)
    _, plan = ready(loan, settings, cache)
    before = threading.active_count()
    iterator = Loader(plan, settings, cache, loan).batches(0)
    next(iterator)
    iterator.close()
    assert threading.active_count() == before


def test_stopping_while_encoding_keeps_what_is_done(loan, folder, tmp_path):
    settings = settings_of(folder)
    generator = prepare(loan, plan_of(settings), settings, LatentCache(tmp_path))
    while not (event := next(generator)).text.startswith("Encoding") or event.done < 3:
        pass
    generator.close()
    assert len(entries(tmp_path)) == 3


def test_settings_are_the_only_thing_that_decides(folder, loan):
    """Two plans from equal settings are equal; the records are frozen, so nothing drifts between epochs."""
    settings = settings_of(folder)
    assert plan_of(settings).epoch(5) == plan_of(msgspec.structs.replace(settings)).epoch(5)
