"""From a prepared plan to batches, read ahead off the training thread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import DataError
from ..families.loan import Conditioning, Loan
from ..settings.options_data import recuts, varies
from ..settings.schema import Settings
from . import augment, keyed, masks, wording
from .ahead import THREADS, ahead
from .fingerprint import of_vae
from .jobs import Job, latent_key, pixels
from .latents import Encoder, LatentCache, Moments
from .plan import Plan, length
from .prepare import prepare
from .text_cache import TextCache
from .types import Batch, SampleKey
from .wording import When

__all__ = ["Loader", "prepare"]


class Loader:
    """Batches of a prepared plan. Disk, captions, pixels and random numbers are a thread's business; the VAE never is.

    Latents are encoded on the caller's thread where augmentation makes every use of a picture another one, and where
    they vanished meanwhile (another run's trimming, a damaged disk); `warnings` then says so.
    """

    def __init__(self, plan: Plan, settings: Settings, cache: LatentCache, loan: Loan, texts: TextCache | None = None):
        self.plan, self.settings, self.cache, self.loan, self.texts = plan, settings, cache, loan, texts
        self.warnings: list[str] = []
        self._varies, self._recuts = varies(settings.data), recuts(settings.data)
        self._vae = "" if self._varies else cache.vae or of_vae(loan.vae)
        self._encoder = Encoder(loan)
        self._length = length(plan.batches_per_epoch, settings.training)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of `epoch` (from 0) from number `start` on. Close the iterator to end its thread early.

        Raises DataError when a picture or its mask is needed and gone.
        """
        numbered = list(enumerate(self.plan.epoch(epoch)))[start:]
        for read in ahead(self._read, numbered, threads=THREADS if self._varies else 1):
            yield self._batch(read)

    def _read(self, numbered: tuple[int, list[SampleKey]]) -> _Read:
        number, keys = numbered
        seed, jobs, when = self.plan.seed, [self._job(key) for key in keys], self._when(number, keys[0].epoch)
        texts = [
            wording.process(job.record.caption, self.settings.captions, keyed.rng(seed, key, "caption"), when)
            for key, job in zip(keys, jobs, strict=True)
        ]
        made = [self._made(key, job) for key, job in zip(keys, jobs, strict=True)]
        return _Read(keys, jobs, made, texts, self._masks(jobs), self.texts.get(texts) if self.texts else None)

    def _when(self, number: int, epoch: int) -> When:
        """Of batch `number` (from 0) of `epoch` (from 0); the batches of one accumulated step are used together."""
        step = epoch * self._length.steps_per_epoch + number // self.settings.training.gradient_accumulation_steps
        return When(epoch + 1, step, self._length.steps)

    def _job(self, key: SampleKey) -> Job:
        """What this use of a picture is: where it is cut, whether it is mirrored."""
        data, seed = self.settings.data, self.plan.seed
        record, fit = self.plan.records[key.image], self.plan.fits[key.image]
        if self._recuts:
            fit = augment.recut(record, fit, data, keyed.rng(seed, key, "crop"))
        mirrored = data.flip_aug and keyed.rng(seed, key, "flip").random() < 0.5
        return Job(key.image, record, fit, latent_key(record, fit, mirrored, data, self._vae))

    def _made(self, key: SampleKey, job: Job) -> Moments | Tensor | None:
        """The cached moments if there are any; where uses differ, pixels."""
        if not self._varies:
            return self.cache.get(job.key)
        picture = _usable(job, pixels(job, self.cache, self.settings.data.background))
        if self.settings.data.color_aug:
            picture = augment.coloured(picture, keyed.rng(self.plan.seed, key, "colour"))
        return picture

    def _masks(self, jobs: list[Job]) -> Tensor | None:
        if not masks.wanted(self.settings.data):
            return None
        made = [self.cache.masks.of(job.record, job.fit, job.key.mirrored, not self._recuts) for job in jobs]
        return torch.stack(made)

    def _batch(self, read: _Read) -> Batch:
        sources = [keyed.generator(self.plan.seed, key, "vae") for key in read.keys]
        moments = self._encoded(read) if self._varies else self._kept(read)
        samples = [one.sample(source) for one, source in zip(moments, sources, strict=True)]
        is_reg = torch.tensor([job.record.is_reg for job in read.jobs])
        return Batch(
            keys=read.keys,
            latents=torch.stack(samples) * self.loan.vae_scale,
            captions=read.captions,
            sizes=torch.tensor([_sizes(job) for job in read.jobs], dtype=torch.float32),
            is_reg=is_reg,
            loss_weights=torch.where(is_reg, self.settings.loss.prior_loss_weight, 1.0).float(),
            masks=read.masks,
            conditioning=read.conditioning,
        )

    def _encoded(self, read: _Read) -> list[Moments]:
        """One VAE batch at a time, as when they are cached, so that no more memory is needed."""
        size, upcast = self.settings.data.vae_batch_size, self._encoder.upcast
        parts = [read.made[i : i + size] for i in range(0, len(read.made), size)]
        moments = [one for part in parts for one in self._encoder(torch.stack(part))]
        if self._encoder.upcast and not upcast:
            self.warnings.append("The VAE overflows in half precision; pictures are encoded in float32.")
        return moments

    def _kept(self, read: _Read) -> list[Moments]:
        return [found or self._make_again(job) for job, found in zip(read.jobs, read.made, strict=True)]

    def _make_again(self, job: Job) -> Moments:
        picture = _usable(job, pixels(job, self.cache, self.settings.data.background))
        self.warnings.append(f"Latents of '{job.record.path.name}' were gone from the cache and are made again.")
        moments = self._encoder(picture[None])[0]
        self.cache.put(job.key, moments)
        return moments


@dataclass(frozen=True)
class _Read:
    """What the thread found for a batch; `made` as `Loader._made` says."""

    keys: list[SampleKey]
    jobs: list[Job]
    made: list[Moments | Tensor | None]
    captions: list[str]
    masks: Tensor | None
    conditioning: Conditioning | None


def _usable(job: Job, picture: Tensor | DataError) -> Tensor:
    if isinstance(picture, DataError):
        raise DataError(f"'{job.record.path}' {picture.message}.", "Replace it and start again.") from picture
    return picture


def _sizes(job: Job) -> Sequence[int]:
    """(original h, w, crop top, left, target h, w) in pixels; in a mirrored picture the cut-off right is the left."""
    (width, height), fit = job.record.size, job.fit
    left = fit.resized[0] - fit.bucket[0] - fit.crop[0] if job.key.mirrored else fit.crop[0]
    return (height, width, fit.crop[1], left, fit.bucket[1], fit.bucket[0])
