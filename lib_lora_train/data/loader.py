"""From a prepared plan to batches, read ahead off the training thread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from ..errors import DataError
from ..families.loan import Conditioning, Loan
from ..settings.schema import Settings
from . import keyed, wording
from .ahead import ahead
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
    """Batches of a prepared plan. Disk, captions and random numbers are a thread's business; the VAE never is.

    Latents that vanished meanwhile (another run's trimming, a damaged disk) are made again on the caller's thread;
    `warnings` then says so.
    """

    def __init__(self, plan: Plan, settings: Settings, cache: LatentCache, loan: Loan, texts: TextCache | None = None):
        self.plan, self.settings, self.cache, self.loan, self.texts = plan, settings, cache, loan, texts
        self.warnings: list[str] = []
        self._vae = cache.vae or of_vae(loan.vae)
        self._length = length(plan.batches_per_epoch, settings.training)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of `epoch` (from 0) from number `start` on. Close the iterator to end its thread early.

        Raises DataError when latents are gone and so is their picture.
        """
        numbered = list(enumerate(self.plan.epoch(epoch)))[start:]
        for read in ahead(self._read, numbered):
            yield self._batch(read)

    def _read(self, numbered: tuple[int, list[SampleKey]]) -> _Read:
        number, keys = numbered
        seed, jobs, when = self.plan.seed, [self._job(key) for key in keys], self._when(number, keys[0].epoch)
        texts = [
            wording.process(job.record.caption, self.settings.captions, keyed.rng(seed, key, "caption"), when)
            for key, job in zip(keys, jobs, strict=True)
        ]
        moments = [self.cache.get(job.key) for job in jobs]
        return _Read(keys, jobs, moments, texts, self.texts.get(texts) if self.texts else None)

    def _when(self, number: int, epoch: int) -> When:
        """Of batch `number` (from 0) of `epoch` (from 0); the batches of one accumulated step are used together."""
        step = epoch * self._length.steps_per_epoch + number // self.settings.training.gradient_accumulation_steps
        return When(epoch + 1, step, self._length.steps)

    def _job(self, key: SampleKey) -> Job:
        record, fit = self.plan.records[key.image], self.plan.fits[key.image]
        mirrored = self.settings.data.flip_aug and keyed.rng(self.plan.seed, key, "flip").random() < 0.5
        return Job(key.image, record, fit, latent_key(record, fit, mirrored, self.settings.data, self._vae))

    def _batch(self, read: _Read) -> Batch:
        samples = []
        for key, job, moments in zip(read.keys, read.jobs, read.moments, strict=True):
            moments = moments or self._make_again(job)
            samples.append(moments.sample(keyed.generator(self.plan.seed, key, "vae")))
        is_reg = torch.tensor([job.record.is_reg for job in read.jobs])
        return Batch(
            keys=read.keys,
            latents=torch.stack(samples) * self.loan.vae_scale,
            captions=read.captions,
            sizes=torch.tensor([_sizes(job) for job in read.jobs], dtype=torch.float32),
            is_reg=is_reg,
            loss_weights=torch.where(is_reg, self.settings.loss.prior_loss_weight, 1.0).float(),
            conditioning=read.conditioning,
        )

    def _make_again(self, job: Job) -> Moments:
        picture = pixels(job, self.cache, self.settings.data.background)
        if isinstance(picture, DataError):
            raise DataError(f"'{job.record.path}' {picture.message}.", "Replace it and start again.") from picture
        self.warnings.append(f"Latents of '{job.record.path.name}' were gone from the cache and are made again.")
        moments = Encoder(self.loan)(picture[None])[0]
        self.cache.put(job.key, moments)
        return moments


@dataclass(frozen=True)
class _Read:
    """What the thread found for a batch; moments are None where the cache has none."""

    keys: list[SampleKey]
    jobs: list[Job]
    moments: list[Moments | None]
    captions: list[str]
    conditioning: Conditioning | None


def _sizes(job: Job) -> Sequence[int]:
    """(original h, w, crop top, left, target h, w) in pixels; in a mirrored picture the cut-off right is the left."""
    (width, height), fit = job.record.size, job.fit
    left = fit.resized[0] - fit.bucket[0] - fit.crop[0] if job.key.mirrored else fit.crop[0]
    return (height, width, fit.crop[1], left, fit.bucket[1], fit.bucket[0])
