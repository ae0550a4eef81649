"""What sd-scripts' `ss_*` metadata (also written by its forks and GUIs) says in our field names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from . import sd_optimizers
from .found import shown
from .from_sd_options import Carried, carry
from .sd_options import NOTHING, OFF, option

_LONGEST = 200_000  # characters of a JSON entry
# Entries that are called otherwise than the options they stand for.
_RENAMED = {"batch_size_per_device": "train_batch_size", "debiased_estimation": "debiased_estimation_loss"}
# Entries that are options which we may lack; other entries are facts about the run.
_LACKING = {
    "multires_noise_iterations", "adaptive_noise_scale", "noise_offset_random_strength", "ip_noise_gamma",
    "ip_noise_gamma_random_strength", "scale_weight_norms", "network_dropout", "debiased_estimation_loss", "loss_type",
    "caption_dropout_every_n_epochs", "color_aug", "random_crop", "face_crop_aug_range", "full_fp16", "fp8_base",
    "fp8_base_unet", "lowram", "vae_name", "network_module", "lr_scheduler_type",
}  # fmt: skip
# Of a folder in a data set configuration.
_OF_FOLDERS = ("keep_tokens_separator", "secondary_separator", "enable_wildcard", "caption_prefix", "caption_suffix")
_MEANT_BY_NOTHING = {
    "unet_lr": 0.0, "text_encoder_lr": 0.0, "min_snr_gamma": 0.0, "noise_offset": 0.0, "max_token_length": 75,
    "clip_skip": 1, "mixed_precision": "no", "network_dim": 4, "network_alpha": 1.0, "gradient_accumulation_steps": 1,
    "caption_dropout_rate": 0.0, "caption_tag_dropout_rate": 0.0, "keep_tokens": 0, "lr_warmup_steps": 0.0,
}  # fmt: skip
_ADAFACTOR = "adafactor:"  # a schedule of sd-scripts' own, with the initial rate behind it


def read_sd_scripts(metadata: Mapping[str, Any]) -> Carried:
    """`values` are unchecked. Never raises.

    Method: golden 07_training_runs, the `ss_*` entries of runs with known options.
    """
    said = {_RENAMED.get(str(n)[3:], str(n)[3:]): value for n, value in metadata.items() if str(n).startswith("ss_")}
    lost: list[str] = []
    options = _datasets(said.get("datasets"), lost)
    options |= {name: value for name, value in said.items() if _is_option(name, value)}
    if "network_module" in options:
        args = _parsed(said.get("network_args"))
        options["network_args"] = args if isinstance(args, dict) else {}
    lost += _optimizer(said, options)
    found = carry(options)
    nothing = {n: value for n, value in _MEANT_BY_NOTHING.items() if str(options.get(n, "x")) in NOTHING}
    found.values = nothing | found.values
    _trigger(metadata, found)
    found.lost = lost + found.lost
    return found


def _is_option(name: str, value: Any) -> bool:
    plain = isinstance(value, (str, int, float, type(None)))
    return plain and (name in _LACKING or name in OFF or (option(name) is not None and name != "optimizer_args"))


def _optimizer(said: Mapping[str, Any], options: dict[str, Any]) -> list[str]:
    """Puts type and arguments into `options`; what is lost."""
    text = said.get("optimizer")
    if not isinstance(text, str) or text in NOTHING:
        return []
    kind, args, lost = sd_optimizers.called(text)
    options |= {"optimizer_type": kind, "optimizer_args": args}
    schedule = options.get("lr_scheduler")
    if isinstance(schedule, str) and schedule.startswith(_ADAFACTOR):
        options |= {"lr_scheduler": "constant", "learning_rate": schedule.removeprefix(_ADAFACTOR)}
    return lost


def _trigger(metadata: Mapping[str, Any], found: Carried) -> None:
    trigger = metadata.get("modelspec.trigger_phrase")
    if isinstance(trigger, str) and trigger:
        found.values["trigger_word"] = trigger
    span = metadata.get("modelspec.timestep_range", "0,1000")
    first, comma, last = str(span).partition(",")
    if span == "0,1000":
        return
    try:
        found.values |= {"min_timestep": int(first), "max_timestep": int(last)}
    except ValueError:
        found.lost.append(shown("timestep_range", span))


def _datasets(value: Any, lost: list[str]) -> dict[str, Any]:
    """Of a run with a data set configuration: the first data set, and its first folder, in the plain entries' names."""
    datasets = _parsed(value)
    if not isinstance(datasets, list) or not datasets or not isinstance(datasets[0], dict):
        return {}
    if len(datasets) > 1:
        lost.append(f"datasets = {len(datasets)} (the first one's options are taken)")
    first = datasets[0]
    subsets = first.get("subsets")
    folder = subsets[0] if isinstance(subsets, list) and subsets and isinstance(subsets[0], dict) else {}
    entries = {_RENAMED.get(str(name), str(name)): entry for name, entry in {**folder, **first}.items()}
    return {
        name: str(entry)
        for name, entry in entries.items()
        if option(name) or name in _LACKING or (name in _OF_FOLDERS and entry)
    }


def _parsed(value: Any) -> Any:
    """JSON, or what a reader of metadata has parsed already; None when it is neither."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) if len(value) <= _LONGEST else None
    except (ValueError, RecursionError):
        return None
