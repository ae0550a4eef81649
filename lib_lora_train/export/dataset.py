"""What a LoRA's metadata tells about its data set: folders by their base name, tags, buckets; never a path."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Protocol


class Picture(Protocol):
    """`data.types.ImageRecord`, as far as it is needed here."""

    path: Path
    size: tuple[int, int]
    caption: str
    repeats: int
    is_reg: bool


class Fitted(Protocol):
    """`data.types.Fit`, as far as it is needed here."""

    bucket: tuple[int, int]


@dataclass(frozen=True)
class DataFacts:
    """Counts are pictures x repeats; the mappings have the shape of the `ss_` metadata of the same name."""

    num_train_images: int = 0
    num_reg_images: int = 0
    dataset_dirs: dict[str, dict[str, int]] = field(default_factory=dict)
    reg_dataset_dirs: dict[str, dict[str, int]] = field(default_factory=dict)
    tag_frequency: dict[str, dict[str, int]] = field(default_factory=dict)
    bucket_info: dict[str, Any] = field(default_factory=dict)


def describe(
    records: Sequence[Picture], fits: Sequence[Fitted], uses: Sequence[int] | None = None, separator: str = ","
) -> DataFacts:
    """Facts of the data set. `fits[i]` is where `records[i]` goes, `uses[i]` how many samples it gives per epoch (its
    repeats when None; regularisation pictures may be used more often)."""
    train = [r for r in records if not r.is_reg]
    reg = [r for r in records if r.is_reg]
    uses = [r.repeats for r in records] if uses is None else uses
    return DataFacts(
        num_train_images=sum(r.repeats for r in train),
        num_reg_images=sum(r.repeats for r in reg),
        dataset_dirs=_dirs(train),
        reg_dataset_dirs=_dirs(reg),
        tag_frequency=_tags(records, separator),
        bucket_info=_buckets(records, fits, uses),
    )


def folder_name(folder: PurePath) -> str:
    """Base name of a picture folder; a user's home folder itself would give the user's name, so it is hidden."""
    home = Path.home().name.casefold()
    return "pictures" if folder.name.casefold() in ("", home) else folder.name


def _dirs(records: Iterable[Picture]) -> dict[str, dict[str, int]]:
    dirs: dict[str, dict[str, int]] = {}
    for record in records:
        entry = dirs.setdefault(folder_name(record.path.parent), {"n_repeats": record.repeats, "img_count": 0})
        entry["img_count"] += 1
    return dirs


def _tags(records: Iterable[Picture], separator: str) -> dict[str, dict[str, int]]:
    """Per folder, lower case, every picture counted once."""
    counts: dict[str, Counter[str]] = {}
    for record in records:
        tags = (tag.strip().lower() for tag in record.caption.split(separator))
        counts.setdefault(folder_name(record.path.parent), Counter()).update(tag for tag in tags if tag)
    return {folder: dict(counter) for folder, counter in counts.items()}


def _buckets(records: Sequence[Picture], fits: Sequence[Fitted], uses: Sequence[int]) -> dict[str, Any]:
    counts: Counter[tuple[int, int]] = Counter()
    for fit, used in zip(fits, uses, strict=True):
        counts[fit.bucket] += used
    errors = [
        abs(fit.bucket[0] / fit.bucket[1] - record.size[0] / record.size[1])
        for record, fit in zip(records, fits, strict=True)
    ]
    buckets = {str(i): {"resolution": list(size), "count": counts[size]} for i, size in enumerate(sorted(counts))}
    return {"buckets": buckets, "mean_img_ar_error": sum(errors) / max(len(errors), 1)}
