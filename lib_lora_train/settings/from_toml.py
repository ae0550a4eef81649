"""sd-scripts' TOML files: options of a run (`--config_file`) and data sets (`--dataset_config`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .found import Found, shown
from .from_sd_options import whole

_RENAMED = {"batch_size": "train_batch_size", "num_repeats": "dataset_repeats"}
_OF_FOLDER = {"image_dir", "is_reg", "class_tokens", "metadata_file", "custom_attributes"}


def read_config(tables: Mapping[str, Any], source: str = "sd-scripts", folders: bool = False) -> Found:
    """Options by name, in any tables: their names mean nothing to sd-scripts."""
    options: dict[str, Any] = {}
    for name, value in tables.items():
        options |= value if isinstance(value, Mapping) and name not in ("network_args",) else {name: value}
    return whole(options, source, folders)


def read_datasets(tables: Mapping[str, Any], source: str = "sd-scripts", folders: bool = False) -> Found:
    """The data part of a recipe only, so nothing is said of the rest."""
    options, lost, told = dataset_options(tables)
    found = whole(options, source, folders)
    about = {name: value for name, value in found.settings.items() if name in _about_data()}
    told += [line for line in found.translated if not line.startswith("not said")]
    return Found(about, source, lost + found.not_carried, told)


def dataset_options(tables: Mapping[str, Any]) -> tuple[dict[str, Any], list[str], list[str]]:
    """(options by sd-scripts' names, what is lost, what is told): of the first data set and its first folders.

    An inner table's option goes before the outer's, as sd-scripts has it.
    """
    lost: list[str] = []
    sets = _tables(tables.get("datasets"))
    if len(sets) > 1:
        lost.append(shown("datasets", len(sets), "the first one's options are taken"))
    first = sets[0] if sets else {}
    subsets = _tables(first.get("subsets"))
    general = tables.get("general")
    options = {**(general if isinstance(general, Mapping) else {}), **first}
    options.pop("subsets", None)
    training = [subset for subset in subsets if not subset.get("is_reg")]
    options |= {name: value for name, value in (training[0] if training else {}).items() if name not in _OF_FOLDER}
    told = _folders(training, [subset for subset in subsets if subset.get("is_reg")], options, lost)
    return {_RENAMED.get(name, name): value for name, value in options.items()}, lost, told


def _folders(
    training: list[Mapping[str, Any]], reg: list[Mapping[str, Any]], options: dict[str, Any], lost: list[str]
) -> list[str]:
    """One folder of each kind can be named; more have to stand in one folder, each with its repeats in its name."""
    told = []
    for field, subsets in (("train_data_dir", training), ("reg_data_dir", reg)):
        dirs = [subset["image_dir"] for subset in subsets if isinstance(subset.get("image_dir"), str)]
        if len(dirs) == 1:
            options[field] = dirs[0]
        elif dirs:
            options.pop("num_repeats", None)
            lost.append(shown(field, len(dirs), "put the folders into one, each named `<repeats>_<name>`"))
    for subset in (*training, *reg):
        for name in ("class_tokens", "metadata_file", "custom_attributes"):
            if subset.get(name):
                why = "name the folder `<repeats>_<words>`, they caption pictures without a caption file"
                lost.append(shown(name, subset[name], why if name == "class_tokens" else ""))
    return told


def _tables(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _about_data() -> set[str]:
    from .schema import groups

    of_groups = {name for group in ("data", "captions") for name in groups()[group].__struct_fields__}
    return of_groups | {"train_batch_size"}
