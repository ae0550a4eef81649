"""OneTrainer's configurations (JSON), as far as they say the same as sd-scripts' options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .found import Found, shown
from .from_sd_options import whole

_OFF = (None, "", False, 0, 0.0, "NONE", "CONSTANT", [], {})
_PRECISIONS = {"FLOAT_16": "fp16", "BFLOAT_16": "bf16", "FLOAT_32": "float"}
_OPTIMIZERS = {
    "ADAMW": "AdamW", "ADAMW_8BIT": "AdamW8bit", "PRODIGY": "Prodigy", "DADAPT_ADAM": "DAdaptAdam", "LION": "Lion",
    "DADAPT_LION": "DAdaptLion", "LION_8BIT": "Lion8bit", "ADAFACTOR": "AdaFactor", "CAME": "CAME",
    "SCHEDULE_FREE_ADAMW": "AdamWScheduleFree",
}  # fmt: skip
_SCHEDULES = {
    "CONSTANT": "constant", "LINEAR": "linear", "COSINE": "cosine", "COSINE_WITH_RESTARTS": "cosine_with_restarts",
    "COSINE_WITH_HARD_RESTARTS": "cosine_with_restarts",
}  # fmt: skip


def _share_of_timesteps(value: Any) -> int:
    return round(float(value) * 1000)


# Its field: (sd-scripts' option, how the value is written there).
_FIELDS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "learning_rate": ("learning_rate", str),
    "epochs": ("max_train_epochs", str),
    "batch_size": ("train_batch_size", str),
    "gradient_accumulation_steps": ("gradient_accumulation_steps", str),
    "gradient_checkpointing": ("gradient_checkpointing", lambda value: str(value) not in ("OFF", "False")),
    "resolution": ("resolution", lambda value: str(value).split(",")[0]),
    "aspect_ratio_bucketing": ("enable_bucket", bool),
    "lora_rank": ("network_dim", str),
    "lora_alpha": ("network_alpha", str),
    "learning_rate_scheduler": ("lr_scheduler", lambda value: _SCHEDULES.get(value, value)),
    "learning_rate_warmup_steps": ("lr_warmup_steps", str),
    "learning_rate_cycles": ("lr_scheduler_num_cycles", str),
    "clip_grad_norm": ("max_grad_norm", str),
    "offset_noise_weight": ("noise_offset", str),
    "perturbation_noise_weight": ("ip_noise_gamma", str),
    "min_noising_strength": ("min_timestep", _share_of_timesteps),
    "max_noising_strength": ("max_timestep", _share_of_timesteps),
    "train_dtype": ("mixed_precision", lambda value: _PRECISIONS.get(value, value)),
    "output_dtype": ("save_precision", lambda value: _PRECISIONS.get(value, value)),
    "lora_model_name": ("network_weights", str),
    "text_encoder_layer_skip": ("clip_skip", lambda value: int(value) + 1),
}
_PARTS = {"unet": ("unet_lr", "network_train_text_encoder_only"),
          "text_encoder": ("text_encoder_lr", "network_train_unet_only")}  # fmt: skip
_TYPES = {"LORA": ("networks.lora", ""), "LOHA": ("lycoris.kohya", "loha")}


def looks_like_one(values: Mapping[str, Any]) -> bool:
    return "training_method" in values or "lora_rank" in values


def read_onetrainer(values: Mapping[str, Any], folders: bool = False) -> Found:
    options: dict[str, Any] = {}
    lost: list[str] = []
    for name, value in values.items():
        if name in _FIELDS and value not in (None, ""):
            option, write = _FIELDS[name]
            try:
                options[option] = write(value)
            except (TypeError, ValueError):
                lost.append(shown(name, value))
        elif name not in (*_PARTS, "optimizer", "peft_type", "loss_weight_fn", "loss_weight_strength"):
            lost += [] if value in _OFF else [shown(name, value)]
    module, algorithm = _TYPES.get(str(values.get("peft_type", "LORA")), (str(values.get("peft_type")), ""))
    options |= {"network_module": module, "network_args": {"algo": algorithm} if algorithm else {}}
    options |= _parts(values) | _optimizer(values, lost) | _weighting(values, lost)
    found = whole(options, "OneTrainer", folders)
    return Found(found.settings, found.source, lost + found.not_carried, found.translated)


def _parts(values: Mapping[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, (rate, only_the_other) in _PARTS.items():
        part = values.get(name)
        if isinstance(part, Mapping):
            if part.get("learning_rate") is not None:
                options[rate] = str(part["learning_rate"])
            if part.get("train") is False:
                options[only_the_other] = True
    return options


def _optimizer(values: Mapping[str, Any], lost: list[str]) -> dict[str, Any]:
    """Its other entries are of the form, mostly unset; only the weight decay is common to all."""
    given = values.get("optimizer")
    given = given if isinstance(given, Mapping) else {"optimizer": given}
    name = str(given.get("optimizer") or "ADAMW")
    lost += [
        shown(f"optimizer {key}", value)
        for key, value in given.items()
        if key not in ("optimizer", "weight_decay") and value not in _OFF
    ]
    decay = given.get("weight_decay")
    args = {} if decay is None else {"weight_decay": decay}
    return {"optimizer_type": _OPTIMIZERS.get(name, name), "optimizer_args": args}


def _weighting(values: Mapping[str, Any], lost: list[str]) -> dict[str, Any]:
    kind, strength = values.get("loss_weight_fn", "CONSTANT"), values.get("loss_weight_strength", 5.0)
    if kind == "MIN_SNR_GAMMA":
        return {"min_snr_gamma": str(strength)}
    if kind == "DEBIASED_ESTIMATION":
        return {"debiased_estimation_loss": True}
    if kind not in _OFF:
        lost.append(shown("loss_weight_fn", kind))
    return {}
