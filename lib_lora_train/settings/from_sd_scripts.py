"""What sd-scripts' `ss_*` metadata (also written by its forks and GUIs) says in our field names."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

_LONGEST = 200_000  # characters of a JSON entry
_NOTHING = ("None", "null", "")
_LEAVE = object()  # marks: nothing said, so our default stays


def _flag(text: str) -> bool:
    return {"True": True, "true": True, "False": False, "false": False}[text]


def _count(text: str) -> int:
    number = float(text)
    if number != int(number):
        raise ValueError(text)
    return int(number) if re.search(r"[.eE]", text) else int(text)


def _rate(text: str) -> float:
    """Newer versions write a list, one rate per text encoder."""
    if not text.startswith("["):
        return float(text)
    rates = {float(rate) for rate in text.strip("[]").split(",")}
    if len(rates) != 1:
        raise ValueError(text)
    return rates.pop()


def _size(text: str) -> str:
    """`(512, 768)`, `512,768` or `512` as `512x768` or `512`."""
    sides = [int(side) for side in re.findall(r"\d+", text)]
    if len(sides) not in (1, 2):
        raise ValueError(text)
    return str(sides[0]) if len(set(sides)) == 1 else f"{sides[0]}x{sides[1]}"


# ss_ entry: (our field, how to read it, what None means)
_FIELDS: dict[str, tuple[str, Callable[[str], Any], Any]] = {
    "output_name": ("output_name", str, _LEAVE),
    "training_comment": ("training_comment", str, _LEAVE),
    "resolution": ("resolution", _size, _LEAVE),
    "enable_bucket": ("enable_bucket", _flag, _LEAVE),
    "min_bucket_reso": ("min_bucket_reso", _count, _LEAVE),
    "max_bucket_reso": ("max_bucket_reso", _count, _LEAVE),
    "bucket_no_upscale": ("bucket_no_upscale", _flag, _LEAVE),
    "flip_aug": ("flip_aug", _flag, _LEAVE),
    "shuffle_caption": ("shuffle_caption", _flag, _LEAVE),
    "keep_tokens": ("keep_tokens", _count, 0),
    "caption_dropout_rate": ("caption_dropout_rate", float, 0.0),
    "caption_tag_dropout_rate": ("caption_tag_dropout_rate", float, 0.0),
    "max_token_length": ("max_token_length", _count, 75),
    "network_dim": ("network_dim", _count, 4),
    "network_alpha": ("network_alpha", float, 1.0),
    "learning_rate": ("learning_rate", float, _LEAVE),
    "unet_lr": ("unet_lr", _rate, 0.0),
    "text_encoder_lr": ("text_encoder_lr", _rate, 0.0),
    "lr_scheduler": ("lr_scheduler", str, _LEAVE),
    "lr_warmup_steps": ("lr_warmup_steps", float, 0.0),
    "max_grad_norm": ("max_grad_norm", float, _LEAVE),
    "zero_terminal_snr": ("zero_terminal_snr", lambda text: "yes" if _flag(text) else "auto", _LEAVE),
    "min_snr_gamma": ("min_snr_gamma", float, 0.0),
    "noise_offset": ("noise_offset", float, 0.0),
    "prior_loss_weight": ("prior_loss_weight", float, _LEAVE),
    "max_train_steps": ("max_train_steps", _count, _LEAVE),
    "batch_size_per_device": ("train_batch_size", _count, _LEAVE),
    "gradient_accumulation_steps": ("gradient_accumulation_steps", _count, 1),
    "gradient_checkpointing": ("gradient_checkpointing", _flag, _LEAVE),
    "mixed_precision": ("mixed_precision", str, "no"),
    "clip_skip": ("clip_skip", _count, 1),
    "seed": ("seed", _count, _LEAVE),
}

# Features we lack: (ss_ entry, the texts that mean "not used").
_OFF = {
    "multires_noise_iterations": ("0",),
    "adaptive_noise_scale": ("0.0", "0"),
    "noise_offset_random_strength": ("False",),
    "ip_noise_gamma": ("0.0", "0"),
    "scale_weight_norms": ("0.0", "0"),
    "network_dropout": ("0.0", "0"),
    "debiased_estimation": ("False",),
    "loss_type": ("l2",),
    "caption_dropout_every_n_epochs": ("0",),
    "color_aug": ("False",),
    "random_crop": ("False",),
    "face_crop_aug_range": (),
    "full_fp16": ("False",),
    "fp8_base": ("False",),
    "fp8_base_unet": ("False",),
    "lowram": ("False",),
    "vae_name": (),
}

# Of a folder in a data set configuration.
_FOLDER_OFF = ("keep_tokens_separator", "secondary_separator", "enable_wildcard", "caption_prefix", "caption_suffix")

# Optimiser by the last part of its class: our name, and the library's own defaults where ours differ from them.
_OPTIMIZERS: dict[str, tuple[str, dict[str, str]]] = {
    "adamw": ("AdamW", {}),
    "adamw8bit": ("AdamW8bit", {}),
    "prodigy": (
        "Prodigy",
        {
            "decouple": "True",
            "weight_decay": "0",
            "d_coef": "1.0",
            "use_bias_correction": "False",
            "safeguard_warmup": "False",
            "betas": "0.9,0.999",
        },
    ),
}


def read_sd_scripts(metadata: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """(values by our field names, unchecked; what is lost, as `name = value`). Never raises.

    Method: golden 07_training_runs, the `ss_*` entries of runs with known options.
    """
    said = {name[3:]: value for name, value in metadata.items() if str(name).startswith("ss_")}
    lost: list[str] = []
    texts = _datasets(said.get("datasets"), lost)
    texts |= {name: str(value) for name, value in said.items() if isinstance(value, (str, int, float, type(None)))}
    found = _plain(texts, lost)
    found |= _parts(texts, found) | _network(texts, said.get("network_args"), lost) | _optimizer(texts, lost)
    trigger = metadata.get("modelspec.trigger_phrase")
    if isinstance(trigger, str) and trigger:
        found["trigger_word"] = trigger
    if metadata.get("modelspec.timestep_range", "0,1000") != "0,1000":
        lost.append(shown("timestep_range", metadata["modelspec.timestep_range"]))
    lost += [shown(name, texts[name]) for name, off in _OFF.items() if texts.get(name, "None") not in (*_NOTHING, *off)]
    return found, lost


def _plain(texts: Mapping[str, str], lost: list[str]) -> dict[str, Any]:
    found = {}
    for name, (field, read, nothing) in _FIELDS.items():
        text = texts.get(name)
        if text is None or (text in _NOTHING and nothing is _LEAVE):
            continue
        try:
            found[field] = nothing if text in _NOTHING else read(text if read is str else _short(text))
        except (ValueError, KeyError, OverflowError):
            lost.append(shown(name, text))
    return found


def _parts(texts: Mapping[str, str], found: Mapping[str, Any]) -> dict[str, bool]:
    """A rate given as 0 means there: not trained. Ours at 0 is the master rate."""
    parts = {"unet_lr": "train_unet", "text_encoder_lr": "train_text_encoder"}
    return {
        field: texts[rate] in _NOTHING or found[rate] != 0
        for rate, field in parts.items()
        if rate in texts and rate in found
    }


def _datasets(value: Any, lost: list[str]) -> dict[str, str]:
    """Of a run with a data set configuration: the first data set, and its first folder, in the plain entries' names."""
    datasets = _parsed(value)
    if not isinstance(datasets, list) or not datasets or not isinstance(datasets[0], dict):
        return {}
    if len(datasets) > 1:
        lost.append(f"datasets = {len(datasets)} (the first one's options are taken)")
    first = datasets[0]
    subsets = first.get("subsets")
    folder = subsets[0] if isinstance(subsets, list) and subsets and isinstance(subsets[0], dict) else {}
    lost += [shown(name, folder[name]) for name in _FOLDER_OFF if folder.get(name)]
    return {name: str(entry) for name, entry in {**folder, **first}.items() if name in _FIELDS or name in _OFF}


def _network(texts: Mapping[str, str], value: Any, lost: list[str]) -> dict[str, Any]:
    """Type and convolution ranks out of module and arguments; a type we lack is lost, its ranks are taken."""
    module = texts.get("network_module")
    if module is None:
        return {}
    args = _parsed(value)
    args = {name: entry for name, entry in args.items() if entry is not None} if isinstance(args, dict) else {}
    conv_dim, conv_alpha = args.pop("conv_dim", 0), args.pop("conv_alpha", 1.0)
    args.pop("dropout", None)  # said by ss_network_dropout too
    if args.get("algo") in ("lora", "locon"):
        args.pop("algo")
    if module.split(".")[0] not in ("networks", "lycoris"):
        lost.append(shown("network_module", module))
    lost += [shown(f"network_args {name}", entry) for name, entry in args.items()]
    if str(conv_dim) in ("0", *_NOTHING):
        return {"network_type": "LoRA"}
    return {"network_type": "LoCon", "conv_dim": conv_dim, "conv_alpha": conv_alpha}


def _optimizer(texts: Mapping[str, str], lost: list[str]) -> dict[str, Any]:
    """`torch.optim.adamw.AdamW(weight_decay=0.01,betas=(0.9, 0.99))` as type and arguments; nothing is evaluated."""
    text = texts.get("optimizer", "None")
    if text in _NOTHING:
        return {}
    path, _, args = text.partition("(")
    kind, defaults = _OPTIMIZERS.get(path.split(".")[-1].strip().lower(), ("", {}))
    if not kind:
        lost.append(shown("optimizer", text))
        return {}
    try:
        given = _arguments(args.removesuffix(")"))
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        lost.append(shown("optimizer arguments", args))
        given = {}
    return {
        "optimizer_type": kind,
        "optimizer_args": " ".join(f"{name}={value}" for name, value in {**defaults, **given}.items()),
    }


def _arguments(text: str) -> dict[str, str]:
    """`a=1,betas=(0.9, 0.99)` by name, as we write them. Raises ValueError or SyntaxError on all but literals."""
    if len(text) > 500:
        raise ValueError("too long")
    call = ast.parse(f"f({text})", mode="eval").body
    if not isinstance(call, ast.Call) or call.args or any(keyword.arg is None for keyword in call.keywords):
        raise ValueError(text)
    return {str(keyword.arg): _literal(ast.literal_eval(keyword.value)) for keyword in call.keywords}


def _literal(value: Any) -> str:
    if isinstance(value, (tuple, list)) and value and all(isinstance(v, (int, float)) for v in value):
        return ",".join(str(v) for v in value)
    if isinstance(value, (bool, int, float, type(None))):
        return str(value)
    raise ValueError("no plain value")


def _parsed(value: Any) -> Any:
    """JSON, or what a reader of metadata has parsed already; None when it is neither."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) if len(value) <= _LONGEST else None
    except (ValueError, RecursionError):
        return None


def _short(text: str) -> str:
    if len(text) > 100:
        raise ValueError("too long for a number")
    return text


def shown(name: Any, value: Any) -> str:
    """`name = value`, cut to what fits a line."""
    return f"{str(name)[:60]} = {str(value)[:60]}"
