"""How the form shows options beyond their types, by table: several lines, and which act only when others are set so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .schema import Settings, group_of

LINES = {"sample_prompts": 3, "sample_negative": 2, "training_comment": 3, "optimizer_args": 2}

Condition = Mapping[str, tuple]  # field: the values with which the option acts; an empty tuple means any but 0 or none
_BUCKETS: Condition = {"enable_bucket": (True,)}
_CONVOLUTIONS: Condition = {"network_type": ("LoCon", "LoHa", "LoKr", "DyLoRA", "OFT", "BOFT")}
_RANKED: Condition = {"network_type": ("LoRA", "LoCon", "LoHa", "LoKr", "DyLoRA", "GLoRA", "OFT", "BOFT")}
_SCALED: Condition = {"network_type": ("LoRA", "LoCon", "LoHa", "LoKr", "DyLoRA")}
_LOKR: Condition = {"network_type": ("LoKr",)}
_UNET: Condition = {"train_unet": (True,)}
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
    "network_dim": _RANKED,
    "network_alpha": _SCALED,
    "block_alphas": _SCALED,
    "conv_dim": _CONVOLUTIONS,
    "conv_alpha": {"network_type": ("LoCon", "LoHa", "LoKr", "DyLoRA")},
    "conv_block_dims": {"network_type": (*_CONVOLUTIONS["network_type"], "full")},
    "conv_block_alphas": {"network_type": ("LoCon", "LoHa", "LoKr", "DyLoRA")},
    "dim_from_weights": {"network_weights": ()},
    "weight_decompose": {"network_type": ("LoRA", "LoCon", "LoHa", "LoKr")},
    "use_tucker": {"network_type": ("LoCon", "LoHa", "LoKr")},
    "factor": _LOKR,
    "decompose_both": _LOKR,
    "full_matrix": _LOKR,
    "dylora_unit": {"network_type": ("DyLoRA",)},
    "constraint": {"network_type": ("OFT", "BOFT")},
    "scale_weight_norms": {"network_type": ("LoRA", "LoCon", "LoHa", "LoKr", "IA3", "DyLoRA", "GLoRA", "full")},
    "train_self_attention": _UNET,
    "train_cross_attention": _UNET,
    "train_feed_forward": _UNET,
    "train_projections": _UNET,
    "train_norm": _UNET,
    "down_lr_weight": _UNET,
    "mid_lr_weight": _UNET,
    "up_lr_weight": _UNET,
    "loraplus_unet_lr_ratio": _UNET,
    "loraplus_text_encoder_lr_ratio": {"train_text_encoder": (True,)},
    "unet_lr": _UNET,
    "text_encoder_lr": {"train_text_encoder": (True,)},
    "lr_warmup_steps": {"lr_scheduler": _MOVING},
    "lr_scheduler_num_cycles": {"lr_scheduler": ("cosine_with_restarts",)},
    "lr_scheduler_power": {"lr_scheduler": ("polynomial",)},
    "conditioning_data_dir": {"masked_loss": (True,)},
    "token_warmup_min": {"token_warmup_step": ()},
    "sigmoid_scale": {"timestep_sampling": ("sigmoid", "shift")},
    "logit_mean": {"timestep_sampling": ("logit_normal",)},
    "logit_std": {"timestep_sampling": ("logit_normal",)},
    "mode_scale": {"timestep_sampling": ("mode",)},
    "discrete_flow_shift": {"timestep_sampling": ("shift",)},
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
