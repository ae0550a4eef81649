"""sd-scripts' options, by its own names: how each is read and what it means where a file says nothing.

An option that is called as ours is and means the same needs no entry here: it is read as its field's type.
Names and defaults: golden 07_option_defaults.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .describe import fields

LEAVE = object()  # marks: nothing said, so our default stays
NOTHING = ("None", "null", "")


@dataclass(frozen=True)
class Option:
    """`read` makes our value of the text and raises ValueError or KeyError; `silent` is our value for None."""

    field: str
    read: Callable[[str], Any]
    silent: Any = LEAVE


def flag(text: str) -> bool:
    return {"true": True, "1": True, "false": False, "0": False}[text.strip().lower()]


def count(text: str) -> int:
    number = float(_short(text))
    if number != int(number):
        raise ValueError(text)
    return int(number) if re.search(r"[.eE]", text) else int(text)


def number(text: str) -> float:
    return float(_short(text))


def rate(text: str) -> float:
    """Newer versions write a list, one rate per text encoder."""
    if not text.startswith("["):
        return number(text)
    rates = {float(one) for one in _short(text).strip("[]").split(",")}
    if len(rates) != 1:
        raise ValueError(text)
    return rates.pop()


def share(text: str) -> Any:
    """A number, or `10%`, which the schema reads itself."""
    return text if text.strip().endswith("%") else number(text)


def size(text: str) -> str:
    """`(512, 768)`, `512,768` or `512` as `512x768` or `512`."""
    sides = [int(side) for side in re.findall(r"\d+", _short(text))]
    if len(sides) not in (1, 2):
        raise ValueError(text)
    return str(sides[0]) if len(set(sides)) == 1 else f"{sides[0]}x{sides[1]}"


def clip_skip(text: str) -> int:
    """0 and 1 both mean the last layer; 0 here means: as the web UI is set."""
    return max(count(text), 1)


def _pair(text: str) -> str:
    """`(2.0, 4.0)` as `2.0,4.0`."""
    return _short(text).strip().strip("()[]").replace(" ", "")


def _yes(text: str) -> str:
    return "yes" if flag(text) else "auto"


def _bfloat(text: str) -> str:
    return {"float32": "float", "fp32": "float"}.get(text, text)


def _full(text: str) -> str:
    return {"fp32": "no", "float32": "no", "float": "no"}.get(text, text)


def _short(text: str) -> str:
    if len(text) > 100:
        raise ValueError("too long for a number")
    return text


_OPTIONS: dict[str, Option] = {
    "resolution": Option("resolution", size),
    "train_batch_size": Option("train_batch_size", count, 1),
    "caption_extension": Option("caption_extension", str, ".caption"),
    "caption_extention": Option("caption_extension", str),  # its old spelling
    "enable_bucket": Option("enable_bucket", flag, False),
    "max_token_length": Option("max_token_length", count, 75),
    "network_dim": Option("network_dim", count, 4),
    "network_alpha": Option("network_alpha", number, 1.0),
    "learning_rate": Option("learning_rate", number, 2e-6),
    "unet_lr": Option("unet_lr", rate, 0.0),
    "text_encoder_lr": Option("text_encoder_lr", rate, 0.0),
    "lr_scheduler": Option("lr_scheduler", str, "constant"),
    "lr_warmup_steps": Option("lr_warmup_steps", share, 0.0),
    "warmup_ratio": Option("lr_warmup_steps", share),  # Easy Training Scripts
    "v_parameterization": Option("v_parameterization", _yes),
    "zero_terminal_snr": Option("zero_terminal_snr", _yes),
    "min_snr_gamma": Option("min_snr_gamma", number, 0.0),
    "max_train_steps": Option("max_train_steps", count, 1600),
    "mixed_precision": Option("mixed_precision", _full, "no"),
    "save_precision": Option("save_precision", _bfloat, "float"),
    "clip_skip": Option("clip_skip", clip_skip, 1),
    "face_crop_aug_range": Option("face_crop_aug_range", _pair),
    "metadata_trigger_phrase": Option("trigger_word", str),
}  # fmt: skip

# Of the options that we lack, the texts that mean "not used", besides None, False and 0.
OFF: dict[str, tuple[str, ...]] = {
    "save_model_as": ("safetensors",),
    "lr_scheduler_type": (),
    "resize_interpolation": (),
}
# Of an option that is not carried over: why.
_AUTOMATIC = "settled by Train LoRA itself"
_MACHINE = "a matter of the machine, not of the recipe"
_LOADED = "the checkpoint loaded in the web UI is trained on"
_GOES = "a run's files and states have their own folder here"
_LOGS = "the run's events are its log"
_LABEL = "the card and the notes say such things here"
WHY: dict[str, str] = {
    **dict.fromkeys(("cache_latents", "cache_text_encoder_outputs", "cache_text_encoder_outputs_to_disk", "cache_info",
                     "skip_cache_check", "no_half_vae", "xformers", "sdpa", "mem_eff_attn", "lowram", "highvram",
                     "lowvram", "vae_batch_size", "cache_latents_to_disk"), _AUTOMATIC),
    **dict.fromkeys(("max_data_loader_n_workers", "persistent_data_loader_workers", "num_cpu_threads_per_process",
                     "torch_compile", "dynamo_backend", "deepspeed", "ddp_timeout", "multi_gpu", "gpu_ids",
                     "num_processes", "num_machines", "main_process_port"), _MACHINE),
    **dict.fromkeys(("pretrained_model_name_or_path", "v2", "sdxl", "vae", "vae_name", "tokenizer_cache_dir"), _LOADED),
    **dict.fromkeys(("output_dir", "save_state", "save_state_on_train_end", "resume", "save_model_as"), _GOES),
    **dict.fromkeys(("logging_dir", "log_with", "log_prefix", "log_tracker_name", "log_tracker_config", "log_config",
                     "wandb_api_key", "wandb_run_name", "console_log_level", "console_log_file",
                     "console_log_simple"), _LOGS),
    **dict.fromkeys(("metadata_title", "metadata_author", "metadata_description", "metadata_license",
                     "metadata_tags"), _LABEL),
    "no_metadata": "the recipe always travels in the file",
    "sample_prompts": "a file of prompts there, copy its lines",
}  # fmt: skip
_READERS: dict[str, Callable[[str], Any]] = {"bool": flag, "int": count, "float": number, "text": str, "choice": str}
# What belongs to the user and this machine, never to somebody else's file.
_OURS = ("make_thumbnail", "publish_snapshots", "cache_latents_to_disk", "cache_size_gb", "vae_batch_size",
         "sample_prompts")  # fmt: skip


def option(name: str) -> Option | None:
    """How sd-scripts' option `name` is read; None when nothing here corresponds."""
    if name in _OPTIONS:
        return _OPTIONS[name]
    if name not in fields() or name in _OURS:
        return None
    return Option(name, share if name == "lr_warmup_steps" else _READERS[fields()[name]["type"]])


def silent() -> dict[str, Any]:
    """Our values for what sd-scripts does where nothing is said and we would do otherwise."""
    return {one.field: one.silent for one in _OPTIONS.values() if one.silent is not LEAVE}


def is_off(name: str, text: str) -> bool:
    """Whether `text` says that a feature we lack is not used."""
    return text in (*NOTHING, "False", "false", "0", "0.0", *OFF.get(name, ()))
