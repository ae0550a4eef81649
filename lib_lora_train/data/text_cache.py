"""Text conditioning of captions that stay the same, kept while the text encoder is not trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from ..events import Phase, Warned
from ..families.loan import Conditioning, Loan
from .fingerprint import of_text_encoders
from .pace import Pace
from .store import Store, digest

_VERSION = "texts 1"
_BATCH = 4  # captions encoded at once


class TextCache:
    """Conditioning by text encoder, caption, length and CLIP skip under `folder` (None: in memory)."""

    def __init__(self, folder: Path | None, limit_gb: float = 10.0):
        self.store = Store(folder, "texts", limit_gb)
        self._encoder = ""

    def fill(
        self, loan: Loan, captions: Sequence[str], max_token_length: int, clip_skip: int, weighted: bool = False
    ) -> Iterator[Phase | Warned]:
        """Encode what is missing, a few captions per item. The text encoders must be as when nothing is trained.
        `weighted`: captions hold weights."""
        facts = (loan.family.name, max_token_length, clip_skip, *(["weighted"] if weighted else []))
        self._encoder = digest(_VERSION, of_text_encoders(loan.text_encoders), *facts)
        wanted, missing, pace = sorted(set(captions)), [], Pace()
        for done, caption in enumerate(wanted):
            if pace.due():
                yield Phase(name="text", text="Looking up captions", done=done, total=len(wanted))
            if self._entry(caption) is None:
                missing.append(caption)
        if self.store.damaged:
            yield Warned(text=f"{self.store.damaged} cached captions were damaged and are made anew.")
        for start in range(0, len(missing), _BATCH):
            done = len(wanted) - len(missing) + start
            yield Phase(name="text", text="Encoding captions", done=done, total=len(wanted))
            part = missing[start : start + _BATCH]
            with torch.no_grad():
                found = loan.family.encode_text(loan, part, max_token_length, clip_skip, weighted=weighted).to("cpu")
            for i, caption in enumerate(part):
                pooled = {} if found.pooled is None else {"pooled": found.pooled[i].clone()}
                self.store.put(self._key(caption), {"context": found.context[i].clone(), **pooled})
        self.store.trim()
        if self.store.trouble:
            yield Warned(text=f"Captions cannot be kept on disk ({self.store.trouble}); they are held in memory.")
        yield Phase(name="text", text="Captions encoded", done=len(wanted), total=len(wanted))

    def get(self, captions: Sequence[str]) -> Conditioning | None:
        """Of a batch, on the CPU; None when one of the captions is not there: encode them then."""
        entries = [self._entry(caption) for caption in captions]
        if any(entry is None for entry in entries):
            return None
        parts = [Conditioning(e["context"][None], e["pooled"][None] if "pooled" in e else None) for e in entries]
        return Conditioning.cat(parts)

    def _entry(self, caption: str) -> dict[str, torch.Tensor] | None:
        return self.store.get(self._key(caption))

    def _key(self, caption: str) -> str:
        return digest(self._encoder, caption)
