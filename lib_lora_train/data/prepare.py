"""Before training: every picture that will be used becomes cached latents, one VAE batch at a time."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from itertools import groupby

import torch
from torch import Tensor

from ..errors import DataError
from ..events import Phase, Warned
from ..families.loan import Loan
from ..settings.options_data import recuts, varies
from ..settings.schema import Settings
from . import masks
from .ahead import THREADS, ahead
from .fingerprint import of_vae
from .jobs import Job, latent_key, pixels, with_digests
from .latents import Encoder, LatentCache
from .look import look
from .pace import Pace
from .plan import Plan


def prepare(loan: Loan, plan: Plan, settings: Settings, cache: LatentCache) -> Generator[Phase | Warned, None, Plan]:
    """Fill the cache, one VAE batch per item. Returns the plan with digests, to be used instead of `plan`: without the
    pictures that could not be decoded (each is a Warned).

    Raises DataError when a picture changed or vanished since the folder was read, or none is left.
    """
    try:
        plan = yield from _with_digests(plan, cache)
        if masks.wanted(settings.data):
            yield from _masks(plan, settings, cache)
        if varies(settings.data):
            plan, lost = yield from look(plan, settings, cache)
            return _without(plan, lost) if lost else plan
        cache.vae = of_vae(loan.vae)
        jobs = _jobs(plan, settings, cache.vae)
        missing = yield from _missing(jobs, cache)
        lost = yield from _encode(loan, missing, settings, cache, len(jobs))
    finally:  # also when stopped here: what is done stays done
        trouble = cache.tidy()
    if trouble:
        yield Warned(
            text=f"Latents cannot be kept on disk ({trouble}); they are held in memory.",
            remedy="Free some space, or make the web UI's data folder writable.",
        )
    yield Phase(name="latents", text="Latents ready", done=len(jobs), total=len(jobs))
    return _without(plan, lost) if lost else plan


def _with_digests(plan: Plan, cache: LatentCache) -> Generator[Phase, None, Plan]:
    """The plan with every file's content known. Files seen before are not read."""
    pace, total, records = Pace(), len(plan.records), []
    for number, record in enumerate(ahead(lambda r: with_digests(r, cache), plan.records, 2 * THREADS, THREADS)):
        if pace.due():
            yield Phase(name="latents", text="Looking at pictures", done=number, total=total)
        records.append(record)
    return Plan(records, plan.fits, plan.batch_size, plan.seed)


def _masks(plan: Plan, settings: Settings, cache: LatentCache) -> Generator[Phase | Warned, None, None]:
    """Every mask is made once, so that a bad one shows now; those of pictures cut anew at each use are not kept."""
    used = [(r, f) for r, f, uses in zip(plan.records, plan.fits, plan.uses, strict=True) if uses and r.mask]
    pace, black, keep = Pace(), [], not recuts(settings.data)
    found = ahead(lambda item: cache.masks.of(*item, False, keep), used, 2 * THREADS, THREADS)
    for number, ((record, _), mask) in enumerate(zip(used, found, strict=True)):
        if pace.due():
            yield Phase(name="latents", text="Reading masks", done=number, total=len(used))
        if not mask.any():
            black.append(record.path.name)
    if black:
        yield Warned(text=f"{len(black)} pictures teach nothing, their masks are all black: {', '.join(black[:5])}.")


def _jobs(plan: Plan, settings: Settings, vae: str) -> list[Job]:
    """What the run needs: every picture that is used, mirrored too if that may happen; same buckets side by side."""
    sides = (False, True) if settings.data.flip_aug else (False,)
    jobs = [
        Job(image, record, fit, latent_key(record, fit, mirrored, settings.data, vae))
        for image, (record, fit, uses) in enumerate(zip(plan.records, plan.fits, plan.uses, strict=True))
        for mirrored in sides
        if uses
    ]
    return sorted(jobs, key=lambda job: (job.fit.bucket, job.image, job.key.mirrored))


def _missing(jobs: list[Job], cache: LatentCache) -> Generator[Phase | Warned, None, list[Job]]:
    """The jobs whose latents are not cached. Every entry is read, so a damaged one shows now, not during training."""
    pace, missing = Pace(), []
    for number, job in enumerate(jobs):
        if pace.due():
            yield Phase(name="latents", text="Looking up latents", done=number, total=len(jobs))
        if cache.get(job.key) is None:
            missing.append(job)
    if cache.store.damaged:
        yield Warned(text=f"{cache.store.damaged} cached latents were damaged and are made anew.")
    return missing


def _encode(
    loan: Loan, jobs: list[Job], settings: Settings, cache: LatentCache, total: int
) -> Generator[Phase | Warned, None, dict[int, str]]:
    """Make and keep the latents of `jobs`. Returns the reason for each picture (by index) that cannot be decoded."""
    encoder, lost, done = Encoder(loan), {}, total - len(jobs)
    background = settings.data.background
    groups = list(_batches(jobs, settings.data.vae_batch_size))
    loaded = ahead(lambda group: [pixels(job, cache, background) for job in group], groups, 2 * THREADS, THREADS)
    for group, pictures in zip(groups, loaded, strict=True):
        good = [(job, p) for job, p in zip(group, pictures, strict=True) if isinstance(p, Tensor)]
        for job, problem in zip(group, pictures, strict=True):
            if not isinstance(problem, Tensor) and job.image not in lost:
                lost[job.image] = problem.message
                yield Warned(text=f"'{job.record.path.name}' {problem.message}; it is left out.", remedy="Replace it.")
        if good:
            warned = encoder.upcast
            for (job, _), moments in zip(good, encoder(torch.stack([p for _, p in good])), strict=True):
                cache.put(job.key, moments)
            if encoder.upcast and not warned:
                yield Warned(text="The VAE overflows in half precision; pictures are encoded in float32.")
        done += len(group)
        yield Phase(name="latents", text="Encoding pictures", done=done, total=total)
    return lost


def _batches(jobs: list[Job], size: int) -> Iterator[list[Job]]:
    for _, same in groupby(jobs, key=lambda job: job.fit.bucket):
        group = list(same)
        yield from (group[i : i + size] for i in range(0, len(group), size))


def _without(plan: Plan, lost: dict[int, str]) -> Plan:
    kept = [i for i in range(len(plan.records)) if i not in lost]
    if not any(not plan.records[i].is_reg for i in kept):
        index, why = next(iter(lost.items()))
        raise DataError(
            f"None of the pictures can be decoded; '{plan.records[index].path.name}' {why}.", "Replace the pictures."
        )
    return Plan([plan.records[i] for i in kept], [plan.fits[i] for i in kept], plan.batch_size, plan.seed)
