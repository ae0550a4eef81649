"""Before the first step: the pictures, their latents, the captions, and how a batch gets its conditioning."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path

import torch

from ..data.buckets import fits
from ..data.latents import LatentCache
from ..data.loader import prepare
from ..data.plan import Plan
from ..data.scan import scan
from ..data.text_cache import TextCache
from ..data.types import Batch
from ..data.wording import variants
from ..events import Event, Phase, Warned
from ..export.folder import RunFolder
from ..families.loan import Conditioning, Loan
from ..settings.schema import Settings
from .memory import guarded

Encode = Callable[[Batch], Conditioning]
NAMED = 5  # files named in one sentence


def plan(settings: Settings) -> Generator[Event, None, Plan]:
    """Reads the folder and plans the epochs. Raises DataError when there is nothing to train on."""
    yield Phase(name="scan", text="Reading the pictures")
    found = scan(settings.data, settings.captions, settings.naming.trigger_word)
    for note in found.notes:
        yield Warned(text=note)
    if found.left_out:
        named = ", ".join(f"{item.path.name} ({item.reason})" for item in found.left_out[:NAMED])
        more = f" and {len(found.left_out) - NAMED} more" if len(found.left_out) > NAMED else ""
        are = "1 file is" if len(found.left_out) == 1 else f"{len(found.left_out)} files are"
        remedy = "What is to be trained on has to be replaced or converted."
        yield Warned(text=f"{are} left out: {named}{more}.", remedy=remedy)
    training = settings.training
    return Plan(found.records, fits(found.records, settings.data), training.train_batch_size, training.seed)


def latents(
    loan: Loan, settings: Settings, folder: RunFolder, planned: Plan
) -> Generator[Event, None, tuple[Plan, LatentCache]]:
    """Fills the cache of latents; the plan comes back without pictures that turned out damaged."""
    cache = LatentCache(_kept_in(folder, settings), settings.data.cache_size_gb)
    with guarded(settings, "latents"):
        kept = yield from prepare(loan, planned, settings, cache)
    return kept, cache


def texts(loan: Loan, settings: Settings, folder: RunFolder, planned: Plan) -> Generator[Event, None, TextCache | None]:
    """A filled cache of conditioning; None when the text encoder is trained, or captions are new in every epoch."""
    listed = [variants(record.caption, settings.captions) for record in planned.records]
    if settings.network.train_text_encoder or None in listed:
        return None
    cache = TextCache(_kept_in(folder, settings), settings.data.cache_size_gb)
    captions = sorted({text for texts in listed for text in texts})
    with guarded(settings, "text"):
        words = settings.captions
        skip = clip_skip(loan, settings)
        yield from cache.fill(loan, captions, words.max_token_length, skip, words.weighted_captions)
    return cache


def encoder(loan: Loan, settings: Settings, dtype: torch.dtype) -> Encode:
    """Conditioning of a batch: the cached one, else computed, with gradients when the text encoder is trained."""
    length, weighted = settings.captions.max_token_length, settings.captions.weighted_captions
    skip = clip_skip(loan, settings)

    def encode(batch: Batch) -> Conditioning:
        if batch.conditioning is not None:
            return batch.conditioning.to(loan.device)
        with torch.set_grad_enabled(settings.network.train_text_encoder):
            return loan.family.encode_text(loan, batch.captions, length, skip, dtype, weighted)

    return encode


def clip_skip(loan: Loan, settings: Settings) -> int:
    """As used: 0 means as the host is set."""
    return settings.training.clip_skip or loan.clip_skip


def _kept_in(folder: RunFolder, settings: Settings) -> Path | None:
    return folder.cache if settings.data.cache_latents_to_disk else None
