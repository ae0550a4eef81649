"""The guides' recipes as presets: values over the defaults, and what they are for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .load import from_mapping
from .schema import Settings


@dataclass(frozen=True)
class Preset:
    """`values` go over the defaults; `family_values` over those for one model family. `roomy`: resolution by family
    where a card has memory to spare."""

    name: str
    title: str
    help: str
    values: Mapping[str, Any]
    family_values: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    roomy: Mapping[str, str] = field(default_factory=dict)


_ADAMW = {"optimizer_type": "AdamW8bit", "lr_scheduler": "cosine_with_restarts", "lr_scheduler_num_cycles": 3}
_PRODIGY = {
    "optimizer_type": "Prodigy",
    "learning_rate": 1.0,
    "unet_lr": 0.0,
    "text_encoder_lr": 0.0,
    "lr_scheduler": "constant",
}
_LOHA = {"network_type": "LoHa", "network_dim": 4, "network_alpha": 2, "conv_dim": 2, "conv_alpha": 1}
_LOKR = {"network_type": "LoKr", "network_dim": 8, "network_alpha": 4, "conv_dim": 4, "conv_alpha": 1, "factor": 8}
_SDXL = {"SDXL": {"resolution": "1024", "min_bucket_reso": 512, "max_bucket_reso": 1536}}
_ROOMY = {"SD1": "640", "SD2": "640"}
# Over every preset, by what the checkpoint predicts. The scaled loss takes min-SNR's place: both would count twice.
_PREDICTION: dict[str, dict[str, Any]] = {
    "v_prediction": {"scale_v_pred_loss_like_noise_pred": True, "min_snr_gamma": 0.0, "noise_offset": 0.0}
}
_V_FAMILY: dict[str, dict[str, Any]] = {"SD2": {"resolution": "768", "max_bucket_reso": 1152}}

_ALL = (
    Preset(
        "easy",
        "Easy",
        "Prodigy finds its own rate. Works for most.",
        {
            **_PRODIGY,
            "network_dim": 32,
            "network_alpha": 1,
            "resolution": "512",
            "max_train_steps": 1000,
            "max_bucket_reso": 768,
            "min_bucket_reso": 320,
        },
        _SDXL,
    ),
    Preset(
        "character",
        "Character",
        "A person or figure, 15 pictures or more.",
        {
            **_ADAMW,
            "learning_rate": 1e-4,
            "text_encoder_lr": 5e-5,
            "network_dim": 32,
            "network_alpha": 16,
            "max_train_steps": 1000,
        },
        _SDXL,
        _ROOMY,
    ),
    Preset(
        "character-few",
        "Character, poor pictures",
        "Few or bad pictures: longer, with regularisation pictures if you can.",
        {
            **_ADAMW,
            "learning_rate": 1e-4,
            "text_encoder_lr": 4.5e-5,
            "network_dim": 32,
            "network_alpha": 16,
            "max_train_steps": 1600,
        },
        _SDXL,
        _ROOMY,
    ),
    Preset(
        "style",
        "Style",
        "100 pictures or more; convolutions and the OUT blocks carry style.",
        {
            **_ADAMW,
            "learning_rate": 1e-4,
            "text_encoder_lr": 4e-5,
            "network_type": "LoCon",
            "network_dim": 96,
            "network_alpha": 48,
            "conv_dim": 16,
            "conv_alpha": 8,
            "max_train_steps": 3000,
            "resolution": "576",
            "block_lr_weight": "style",
        },
        _SDXL,
        _ROOMY,
    ),
    Preset(
        "concept",
        "Concept",
        "Clothes, poses, things; the IN blocks carry composition.",
        {
            **_ADAMW,
            "learning_rate": 1e-4,
            "text_encoder_lr": 4.5e-5,
            "network_dim": 16,
            "network_alpha": 8,
            "max_train_steps": 1200,
            "block_lr_weight": "concept",
        },
        _SDXL,
        _ROOMY,
    ),
    Preset(
        "small",
        "Small file",
        "LoHa: much in few numbers, slower to train.",
        {
            **_ADAMW,
            **_LOHA,
            "learning_rate": 1e-4,
            "text_encoder_lr": 5e-5,
            "max_train_steps": 1500,
        },
        _SDXL,
    ),
    Preset(
        "smallest",
        "Smallest file",
        "LoKr: tied to its checkpoint, fussy about the rate.",
        {
            **_ADAMW,
            **_LOKR,
            "learning_rate": 5e-4,
            "text_encoder_lr": 2e-4,
            "max_train_steps": 1500,
        },
        _SDXL,
    ),
    Preset(
        "one-image",
        "One image",
        "A first LoRA from a single picture; add its best outputs to the folder and train again.",
        {
            **_PRODIGY,
            "network_dim": 16,
            "network_alpha": 1,
            "dataset_repeats": 20,
            "max_train_epochs": 10,
            "save_every_n_epochs": 1,
        },
        _SDXL,
    ),
)
PRESETS: dict[str, Preset] = {preset.name: preset for preset in _ALL}


def tuned(preset: Preset, family: str = "", prediction: str = "") -> dict[str, Any]:
    """`preset`'s values for a checkpoint's family and what it predicts, as far as they are known."""
    of_v = _V_FAMILY.get(family, {}) if prediction == "v_prediction" else {}
    return {**preset.values, **preset.family_values.get(family, {}), **_PREDICTION.get(prediction, {}), **of_v}


def apply(preset: Preset, base: Settings | None = None, family: str = "", prediction: str = "") -> Settings:
    """`preset` over the defaults, but keeping `base`'s names, words and folders (which no preset sets)."""
    kept = base or Settings()
    fresh = Settings(naming=kept.naming)
    mine = {
        "train_data_dir": kept.data.train_data_dir,
        "reg_data_dir": kept.data.reg_data_dir,
        "conditioning_data_dir": kept.data.conditioning_data_dir,
        "network_weights": kept.network.network_weights,
        "sample_prompts": kept.saving.sample_prompts,
    }
    return from_mapping({**mine, **tuned(preset, family, prediction)}, fresh)
