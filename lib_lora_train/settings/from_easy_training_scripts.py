"""LoRA Easy Training Scripts' TOML and JSON: tables of arguments by kind, with subsets; and its older flat JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .found import Found, shown
from .from_sd_options import whole
from .from_toml import dataset_options

_TABLES = ("args", "dataset_args")
_NOT_OURS = ("logging_args", "flux_args", "textual_inversion_args", "train_mode", "subsets")
# What only its form knows: (easy_name fills templates in its paths; the rest are files it writes beside).
_FORM = ("easy_name", "tag_occurrence", "tag_file_location", "save_toml", "save_toml_location", "name", "fa")
# Its first versions' fields, where they are called otherwise than sd-scripts' options.
_OLD = {
    "net_dim": "network_dim", "alpha": "network_alpha", "scheduler": "lr_scheduler", "num_epochs": "max_train_epochs",
    "cosine_restarts": "lr_scheduler_num_cycles", "batch_size": "train_batch_size", "train_resolution": "resolution",
    "min_bucket_resolution": "min_bucket_reso", "max_bucket_resolution": "max_bucket_reso",
    "save_at_n_epochs": "save_every_n_epochs", "change_output_name": "output_name", "output_folder": "output_dir",
    "img_folder": "train_data_dir", "reg_img_folder": "reg_data_dir", "base_model": "pretrained_model_name_or_path",
    "shuffle_captions": "shuffle_caption", "warmup_lr_ratio": "warmup_ratio", "gamma": "min_snr_gamma",
    "lora_model_for_resume": "network_weights", "max_steps": "max_train_steps", "unet_only": "network_train_unet_only",
    "text_only": "network_train_text_encoder_only", "max_clip_token_length": "max_token_length", "test_seed": "seed",
}  # fmt: skip
_BUCKETS = "enable_bucket"


def looks_like_one(tables: Mapping[str, Any]) -> bool:
    nested = any(isinstance(table, Mapping) and any(name in table for name in _TABLES) for table in tables.values())
    return nested or ("img_folder" in tables and "net_dim" in tables)


def read_easy_training_scripts(tables: Mapping[str, Any], folders: bool = False) -> Found:
    if "net_dim" in tables:
        return _old(tables, folders)
    options, data = {}, {}
    for name, table in tables.items():
        if isinstance(table, Mapping) and name not in _NOT_OURS:
            options |= _table(table, "args")
            data |= _table(table, "dataset_args")
    subsets = tables.get("subsets")
    of_data, lost, told = dataset_options({"datasets": [{**data, "subsets": subsets}]})
    options = {name: value for name, value in {**of_data, **options}.items() if name not in _FORM}
    lost += _other_kinds(tables)
    if options.get("network_args"):
        options["network_module"] = _module(options["network_args"])
    found = whole({"network_module": "networks.lora", **options}, "Easy Training Scripts", folders)
    return Found(found.settings, found.source, lost + found.not_carried, told + found.translated)


def _other_kinds(tables: Mapping[str, Any]) -> list[str]:
    """Flux, and embeddings instead of a LoRA: the file is for what is not trained here."""
    mode = tables.get("train_mode")
    mode = mode.get("train_mode", "lora") if isinstance(mode, Mapping) else "lora"
    lost = [] if mode == "lora" else [shown("train_mode", mode, "only LoRAs are trained here")]
    if _table(tables.get("flux_args", {}), "args"):
        lost.append(shown("flux_args", "True", "made for models that are not trained here"))
    return lost


def _module(args: Any) -> str:
    """It trains with LyCORIS whenever an algorithm is named."""
    return "lycoris.kohya" if isinstance(args, Mapping) and args.get("algo") else "networks.lora"


def _table(table: Any, name: str) -> dict[str, Any]:
    inner = table.get(name) if isinstance(table, Mapping) else None
    return dict(inner) if isinstance(inner, Mapping) else {}


def _old(values: Mapping[str, Any], folders: bool) -> Found:
    options = {_OLD.get(str(name), str(name)): value for name, value in values.items() if value is not None}
    if options.pop("lyco", False):
        options["network_module"] = "lycoris.kohya"
    options.setdefault("network_module", "networks.lora")
    options.setdefault(_BUCKETS, True)
    return whole(options, "Easy Training Scripts", folders)
