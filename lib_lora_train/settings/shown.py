"""How the form shows options beyond their types, by table: several lines, and which act only when others are set so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .schema import Settings, group_of

LINES = {"sample_prompts": 3, "sample_negative": 2, "training_comment": 3, "optimizer_args": 2}

Condition = Mapping[str, tuple]  # field: the values with which the option acts; an empty tuple means any but 0 or none
_BUCKETS: Condition = {"enable_bucket": (True,)}
_CONVOLUTIONS: Condition = {"network_type": ("LoCon",)}
_HUBER: Condition = {"loss_type": ("huber", "smooth_l1")}
_MOVING = ("constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial")

WHEN: dict[str, Condition] = {
    "min_bucket_reso": _BUCKETS,
    "max_bucket_reso": _BUCKETS,
    "bucket_no_upscale": _BUCKETS,
    "bucket_rule": _BUCKETS,
    "cache_size_gb": {"cache_latents_to_disk": (True,)},
    "caption_phrase": {"caption_mode": ("phrase",)},
    "caption_extension": {"caption_mode": ("files",)},
    "conv_dim": _CONVOLUTIONS,
    "conv_alpha": _CONVOLUTIONS,
    "unet_lr": {"train_unet": (True,)},
    "text_encoder_lr": {"train_text_encoder": (True,)},
    "lr_warmup_steps": {"lr_scheduler": _MOVING},
    "lr_scheduler_num_cycles": {"lr_scheduler": ("cosine_with_restarts",)},
    "lr_scheduler_power": {"lr_scheduler": ("polynomial",)},
    "noise_offset_random_strength": {"noise_offset": ()},
    "multires_noise_discount": {"multires_noise_iterations": ()},
    "ip_noise_gamma_random_strength": {"ip_noise_gamma": ()},
    "huber_schedule": _HUBER,
    "huber_c": _HUBER,
    "huber_scale": _HUBER,
    "max_train_steps": {"max_train_epochs": (0,)},
}


def acts(name: str, values: Mapping[str, Any]) -> bool:
    """Whether the option does anything in a recipe of these `values` by field name."""
    conditions = WHEN.get(name, {})
    return all(values[field] in wanted if wanted else bool(values[field]) for field, wanted in conditions.items())


def unused(settings: Settings) -> list[str]:
    """Options that the recipe sets but that do nothing in it."""
    values = {name: getattr(getattr(settings, group), name) for name, group in group_of().items()}
    default = Settings()
    return [
        name
        for name in WHEN
        if values[name] != getattr(getattr(default, group_of()[name]), name) and not acts(name, values)
    ]
