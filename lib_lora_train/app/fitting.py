"""The recipe cards for what is loaded: each preset tuned to family, prediction and memory, with its costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..engine.estimate import Estimate, estimate
from ..engine.optimizer_kinds import KINDS
from ..families.outline import Outline
from ..hosts.base import HostStatus
from ..settings.load import from_mapping
from ..settings.presets import PRESETS, Preset, tuned
from ..settings.schema import Settings

# GB that the web UI itself holds with a checkpoint of the family loaded: half-precision weights and what torch needs.
_LOADED = {"SD1": 2.8, "SD2": 3.2, "SDXL": 7.6}
_FLOOR = {"SD1": "448", "SD2": "512", "SDXL": "768"}  # below it a family draws badly
_SPARE = 0.6  # share of the memory that a larger resolution may take


@dataclass(frozen=True)
class Fitter:
    """`memory_gb` is what a run may take, 0 when that is not known (no graphics card)."""

    status: HostStatus
    outline: Outline | None
    memory_gb: float

    def costs(self, values: Mapping[str, Any]) -> Estimate:
        return estimate(self.settings(values), [], self.status, self.outline)

    def settings(self, values: Mapping[str, Any]) -> Settings:
        return from_mapping(values, from_mapping(self.status.defaults))

    def fits(self, values: Mapping[str, Any], share: float = 1.0) -> bool:
        return not self.memory_gb or self.costs(values).memory_gb <= share * self.memory_gb


def cards(status: HostStatus, outline: Outline | None = None) -> list[dict[str, Any]]:
    """`{name, title, help, values, notes, steps, rank, memory_gb, file_mb}` of every preset.

    `values` go over the schema's defaults; `notes` say what was changed for this card, in words.
    """
    loaded = _LOADED.get(status.family, 0.0)
    memory = max(status.memory_total_gb - loaded, 0.3) if status.on_card and status.family else 0.0
    fitter = Fitter(status, outline, memory)
    return [_card(preset, fitter) for preset in PRESETS.values()]


def _card(preset: Preset, fitter: Fitter) -> dict[str, Any]:
    values, notes = fitted(preset, fitter)
    settings, costs = fitter.settings(values), fitter.costs(values)
    return {
        "name": preset.name,
        "title": preset.title,
        "help": preset.help,
        "values": values,
        "notes": notes,
        "network": settings.network.network_type,
        "rank": settings.network.network_dim,
        "resolution": settings.data.resolution,
        "steps": 0 if settings.training.max_train_epochs else settings.training.max_train_steps,
        "epochs": settings.training.max_train_epochs,
        "memory_gb": costs.memory_gb,
        "file_mb": costs.file_mb,
    }


def fitted(preset: Preset, fitter: Fitter) -> tuple[dict[str, Any], list[str]]:
    """The preset's values here, and what was changed for the card's memory."""
    status = fitter.status
    values = tuned(preset, status.family, status.prediction)
    larger = preset.roomy.get(status.family)
    if larger and fitter.memory_gb and fitter.fits({**values, "resolution": larger}, _SPARE):
        return {**values, "resolution": larger}, []
    notes: list[str] = []
    for change, note in _savings(status, values):
        if fitter.fits(values):
            return values, notes
        values, notes = {**values, **change}, [*notes, note]
    if not fitter.fits(values):
        notes.append("too much for this card by the estimate")
    return values, notes


def _savings(status: HostStatus, values: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """What needs less memory, the mildest first: what trains the same before what does not."""
    yield {"gradient_checkpointing": True}, "gradient checkpointing"
    small = f"{values.get('optimizer_type', '')}8bit"
    if small in KINDS:
        yield {"optimizer_type": small}, "8-bit optimiser"
    yield {"train_text_encoder": False}, "text encoder not trained"
    floor = _FLOOR.get(status.family)
    if floor:
        yield {"resolution": floor}, f"{floor} px"
