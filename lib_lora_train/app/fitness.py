"""What is refused before a run is begun, so that nobody waits hours for an error: each names its field and a remedy."""

from __future__ import annotations

import shutil
import tempfile

import torch

from ..adapters.check import check, forms_in
from ..adapters.load import read
from ..adapters.plan import plan
from ..adapters.targets import places
from ..data import layout
from ..engine.estimate import estimate
from ..engine.optimizers import chosen
from ..errors import DataError, ExportError, HostError, SettingsError
from ..export import names
from ..export.folder import explained
from ..hosts.base import Host
from ..settings.advice import advise
from ..settings.load import from_mapping
from ..settings.schema import Settings
from . import trust
from .loras import twin
from .outlines import outline_of
from .publish import taken
from .refusals import Conflict


def checked(settings: Settings, host: Host, confirm_overwrite: bool = False) -> Settings:
    """The settings to run, with the file to continue from as a whole path: a run's folder is read from anywhere.

    Raises SettingsError (advice of level error, no pictures, arguments that the optimiser does not take, a file to
    continue from that does not fit), Forbidden, HostError (nothing to train on), Conflict (a LoRA of that name exists
    and `confirm_overwrite` is not set), ExportError (no place to save to).
    """
    for advice in advise(settings):
        if advice.level == "error":
            raise SettingsError(advice.text, "Change it at that field.", advice.field)
    trust.check_folders(settings, host)
    _check_host(host)
    _check_pictures(settings)
    _check_optimizer(settings, host)
    _check_name(settings, host, confirm_overwrite)
    _check_place(settings, host)
    return _with_weights(settings, host)


def _check_host(host: Host) -> None:
    status = host.status()
    if status.problem:
        raise HostError(status.problem, status.remedy)


def _check_pictures(settings: Settings) -> None:
    """Folders only; each picture is looked at by the run."""
    try:
        layout.find(settings.data)
    except DataError as error:
        raise SettingsError(error.message, error.remedy, error.field or "train_data_dir") from error


def _check_optimizer(settings: Settings, host: Host) -> None:
    """Its arguments are free text, and only the optimiser itself knows what it takes."""
    card = host.status().on_card and torch.cuda.is_available()
    chosen(settings.optimizer, torch.device("cuda" if card else "cpu"), [])


def _check_name(settings: Settings, host: Host, confirm_overwrite: bool) -> None:
    if taken(host, settings) and not confirm_overwrite:
        raise Conflict(
            f"There is a LoRA “{settings.naming.output_name}” already.",
            "Choose another name, or confirm to replace it.",
            "output_name",
        )
    check_twin(settings, host)


def check_twin(settings: Settings, host: Host) -> None:
    """Raises SettingsError when another folder has a LoRA of that name: the web UI would show only one of them."""
    path = names.lora_path(host.lora_dir(), settings.naming.output_name, settings.naming.output_folder)
    other = twin(host, path)
    if other is not None:
        raise SettingsError(
            f"There is a LoRA “{path.stem}” already: {other.relative_to(host.lora_dir()).as_posix()}. The web UI knows "
            "LoRAs by their names without folders, and would show only one of the two.",
            "Choose another name, or the other one's sub-folder.",
            "output_name",
        )


def _check_place(settings: Settings, host: Host) -> None:
    """Both the run's folder and the LoRA folder have to take the file."""
    target = names.lora_path(host.lora_dir(), settings.naming.output_name, settings.naming.output_folder).parent
    needed = 2e6 * estimate(settings, [], host.status(), outline_of(host)).file_mb
    for folder in (host.data_dir(), target):
        there = next(path for path in (folder, *folder.parents) if path.exists())
        with explained(folder), tempfile.TemporaryFile(dir=there):
            free = shutil.disk_usage(there).free
        if free < needed:
            raise ExportError(
                f"{there} has {free / 1e6:.1f} MB free; saving this LoRA needs {needed / 1e6:.1f} MB.",
                "Free some space on that disk, or lower the rank.",
            )


def _with_weights(settings: Settings, host: Host) -> Settings:
    text, outline = settings.network.network_weights, outline_of(host)
    planned = plan(outline, settings.network) if outline else []  # refuses lists per block that do not fit
    if not text.strip():
        return settings
    path = trust.weights_file(text, host)
    if not path.is_file():
        raise SettingsError(f"There is no LoRA {text}.", "Choose one to continue from.", "network_weights")
    tensors = read(path)
    if outline is not None:
        if settings.network.dim_from_weights:
            check(tensors, forms_in(tensors, {place.key: place.shape for place in places(outline)}))
        else:
            check(tensors, {one.place.key: one.form for one in planned})
    return from_mapping({"network_weights": str(path.resolve())}, settings)
