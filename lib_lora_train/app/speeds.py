"""How long a step took here and how much memory it needed, so that the next estimate is a measurement."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from ..export.folder import written
from ..hosts.base import HostStatus
from ..settings.options_data import varies
from ..settings.schema import Settings, size_of

log = logging.getLogger(__name__)
_KEPT = 200


_SPEED, _MEMORY = "speed.json", "memory.json"


def recall(data_dir: Path, settings: Settings, status: HostStatus) -> float:
    """Seconds per step of the newest run like this one, 0 when there was none."""
    return _read(data_dir / _SPEED).get(_key(settings, status), 0.0)


def remember(data_dir: Path, settings: Settings, status: HostStatus, seconds_per_step: float) -> None:
    """A disk that refuses is no reason to fail a run over an estimate; it is logged."""
    _write(data_dir / _SPEED, _key(settings, status), seconds_per_step)


def recall_memory(data_dir: Path, settings: Settings, status: HostStatus) -> float:
    """GB that a recipe like this one was measured to need at most, 0 when none was."""
    return _read(data_dir / _MEMORY).get(_memory_key(settings, status), 0.0)


def remember_memory(data_dir: Path, settings: Settings, status: HostStatus, gigabytes: float) -> None:
    _write(data_dir / _MEMORY, _memory_key(settings, status), gigabytes)


def _write(path: Path, key: str, value: float) -> None:
    if not value > 0:  # not to be known on this device
        return
    known = _read(path)
    known.pop(key, None)
    newest = [*known.items(), (key, round(value, 5))][-_KEPT:]
    try:
        with written(path) as beside:
            beside.write_bytes(msgspec.json.format(msgspec.json.encode(dict(newest))))
    except OSError as error:
        log.warning("Train LoRA: %s is not written: %s", path.name, error)


def _read(path: Path) -> dict[str, float]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, float])
    except (OSError, ValueError):  # none yet, or damaged: measured again by the next run
        return {}


def _memory_key(settings: Settings, status: HostStatus) -> str:
    """Weights and their optimiser's state count too, and how many pictures are encoded at once."""
    network, data = settings.network, settings.data
    more = (
        f"rank {network.network_dim}",
        f"convolutions {network.conv_dim}",
        settings.optimizer.optimizer_type,
        f"VAE batch {data.vae_batch_size}",
        f"up to {data.max_bucket_reso}" if data.enable_bucket else "",
    )
    return ", ".join((_key(settings, status), *(part for part in more if part)))


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
        "encoded anew" if varies(settings.data) else "",
        network.network_type,
        f"{'unet ' if network.train_unet else ''}{'text' if network.train_text_encoder else ''}".strip(),
    )
    return ", ".join(part for part in parts if part)
