"""How long a step took in earlier runs here, so that the next estimate is a measurement (`speed.json`)."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from ..export.folder import written
from ..hosts.base import HostStatus
from ..settings.schema import Settings, size_of

log = logging.getLogger(__name__)
_KEPT = 200


def recall(data_dir: Path, settings: Settings, status: HostStatus) -> float:
    """Seconds per step of the newest run like this one, 0 when there was none."""
    return _read(data_dir).get(_key(settings, status), 0.0)


def remember(data_dir: Path, settings: Settings, status: HostStatus, seconds_per_step: float) -> None:
    """A disk that refuses is no reason to fail a run over an estimate; it is logged."""
    known = _read(data_dir)
    known.pop(_key(settings, status), None)
    newest = [*known.items(), (_key(settings, status), round(seconds_per_step, 5))][-_KEPT:]
    try:
        with written(data_dir / "speed.json") as beside:
            beside.write_bytes(msgspec.json.format(msgspec.json.encode(dict(newest))))
    except OSError as error:
        log.warning("Train LoRA: the speed is not remembered: %s", error)


def _read(data_dir: Path) -> dict[str, float]:
    try:
        return msgspec.json.decode((data_dir / "speed.json").read_bytes(), type=dict[str, float])
    except (OSError, ValueError):  # none yet, or damaged: measured again by the next run
        return {}


def _key(settings: Settings, status: HostStatus) -> str:
    """What a step's time depends on most. A card is told by its memory."""
    training, network = settings.training, settings.network
    width, height = size_of(settings.data.resolution)
    parts = (
        f"{status.memory_total_gb:.0f} GB card" if status.on_card else "CPU",
        status.family,
        status.precision,
        training.mixed_precision,
        f"{width}x{height}",
        f"batch {training.train_batch_size}x{training.gradient_accumulation_steps}",
        "checkpointing" if training.gradient_checkpointing else "",
        network.network_type,
        f"{'unet ' if network.train_unet else ''}{'text' if network.train_text_encoder else ''}".strip(),
    )
    return ", ".join(part for part in parts if part)
