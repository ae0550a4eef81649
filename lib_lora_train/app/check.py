"""What will happen, without training: pictures, length, time, memory, advice."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from ..adapters.check import modules_of
from ..adapters.plan import plan
from ..engine.estimate import Estimate, estimate, file_mb
from ..errors import ExportError, SettingsError
from ..export.lora_file import read_header
from ..hosts.base import Host, HostStatus
from ..settings.advice import Advice, Facts, advise
from ..settings.schema import Settings
from . import speeds, trust
from .datasets import DataSet, DataSets
from .fitness import check_twin
from .outlines import outline_of
from .publish import taken

_ITEMS = 500  # pictures listed one by one


def check(settings: Settings, host: Host, sets: DataSets) -> dict[str, Any]:
    """Shape: docs/architecture.md, `check`. Raises SettingsError or Forbidden by field."""
    trust.check_folders(settings, host)
    found = sets.look(settings)
    status = host.status()
    seconds = speeds.recall(host.data_dir(), settings, status)
    memory = speeds.recall_memory(host.data_dir(), settings, status)
    expected = estimate(settings, found.records, status, outline_of(host), seconds)
    expected = replace(expected, memory_gb=round(memory, 2)) if memory else expected
    expected = _as_the_file(expected, settings, host)
    told = (*_name_advice(settings, host), *_network_advice(settings, host))
    return {
        "pictures": _pictures(found, expected),
        "estimate": {**asdict(expected), "measured": {"time": bool(seconds), "memory": bool(memory)}},
        "advice": [asdict(item) for item in (*told, *advise(settings, _facts(expected, status)))],
        "left_out": [{"name": item.path.name, "reason": item.reason} for item in found.scan.left_out],
        "notes": _notes(found.scan.notes, [item.text for item in found.lints]),
    }


def _notes(scanned: Sequence[str], lints: Sequence[str]) -> list[str]:
    """All of both; what a lint says more exactly ("3 of 31 pictures have ...") only once."""
    said = {_after_count(lint) for lint in lints}
    return [*(note for note in scanned if _after_count(note) not in said - {""}), *lints]


def _after_count(text: str) -> str:
    return re.split(" pictures? ", f"{text} picture ", maxsplit=1)[1].removesuffix(" picture ")


def _name_advice(settings: Settings, host: Host) -> Iterator[Advice]:
    try:
        if taken(host, settings):
            yield Advice("output_name", "There is a LoRA of this name already; Train asks before replacing it.")
        check_twin(settings, host)
    except SettingsError as error:
        yield Advice(error.field, str(error), "error")


def _as_the_file(expected: Estimate, settings: Settings, host: Host) -> Estimate:
    """With the types and ranks of the file to continue from, the new one is as large."""
    net = settings.network
    path = trust.weights_file(net.network_weights, host)
    if not (net.dim_from_weights and path.is_file()):
        return expected
    try:
        shapes = {name: info.shape for name, info in read_header(path).tensors.items()}
    except ExportError:  # the start says what is wrong with it
        return expected
    numbers = sum(math.prod(shape) for shape in shapes.values())
    return replace(expected, file_mb=file_mb(len(modules_of(shapes)), numbers, settings))


def _network_advice(settings: Settings, host: Host) -> Iterator[Advice]:
    """What shows only beside the loaded checkpoint: lists per block of another family, nothing left to train."""
    outline, net = outline_of(host), settings.network
    if outline is None or not (net.train_unet or net.train_text_encoder):
        return
    try:
        plan(outline, net)
    except SettingsError as error:
        yield Advice(error.field, str(error), "error")


def _facts(expected: Estimate, status: HostStatus) -> Facts:
    return Facts(
        family=status.family,
        prediction=status.prediction,
        pictures=expected.pictures,
        steps=expected.steps,
        memory_gb=expected.memory_gb,
        memory_free_gb=max(status.memory_total_gb - status.memory_used_gb, 0.0),
        weights_dtype=status.precision,
    )


def _pictures(found: DataSet, expected: Estimate) -> dict[str, Any]:
    concepts = Counter((r.concept, r.repeats, r.is_reg) for r in found.records)
    buckets = Counter(fit.bucket for fit in found.fits)
    return {
        "set": found.id,
        "count": len(found.records),
        "samples": expected.samples_per_epoch,
        "items": [_item(found, index) for index in range(min(len(found.records), _ITEMS))],
        "concepts": [
            {"name": name, "repeats": repeats, "count": count, "is_reg": is_reg}
            for (name, repeats, is_reg), count in concepts.items()
        ],
        "buckets": [{"size": list(size), "count": count} for size, count in buckets.most_common()],
    }


def _item(found: DataSet, index: int) -> dict[str, Any]:
    record = found.records[index]
    return {
        "index": index,
        "name": record.path.name,
        "caption": record.caption,
        "width": record.size[0],
        "height": record.size[1],
        "repeats": record.repeats,
        "concept": record.concept,
        "is_reg": record.is_reg,
        "bucket": list(found.fits[index].bucket),
    }
