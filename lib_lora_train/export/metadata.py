"""Metadata of a LoRA file: sd-scripts' `ss_*`, Stability's `modelspec.*`, and our recipe; no path, no user name."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PureWindowsPath
from typing import Any

from .. import __version__
from ..families.loan import Identity
from ..settings.from_metadata import FOLDERS_KEY, PATH_FIELDS, RECIPE_KEY
from ..settings.load import RECIPE_VERSION, to_mapping
from ..settings.options_data import face_range, varies
from ..settings.schema import LossSettings, Settings, rate_scale, size_of
from .dataset import DataFacts, folder_name
from .network import network


@dataclass(frozen=True)
class RunFacts:
    """What the engine knows, beyond the settings, when it writes a file.

    `epoch` is the number of finished epochs in a step snapshot (0 in the first), the epoch's number in an epoch
    snapshot and `num_epochs` in the last file. Times are seconds since the epoch.
    """

    identity: Identity
    family: str = "SD1"  # SD1, SD2, SDXL
    prediction: str = "epsilon"  # epsilon | v_prediction
    zero_terminal_snr: bool = False
    clip_skip: int = 1  # as used, at least 1
    mixed_precision: str = "no"  # as used: no, fp16, bf16
    optimizer: str = ""  # kind as used; "" means the recipe's
    optimizer_args: Mapping[str, Any] = field(default_factory=dict)  # as handed to the optimiser
    steps: int = 0  # optimiser steps done
    total_steps: int = 0
    epoch: int = 0
    num_epochs: int = 0
    num_batches_per_epoch: int = 0
    session_id: int = 0  # the same in all files of a run
    started_at: float = 0.0
    finished_at: float = 0.0
    data: DataFacts = field(default_factory=DataFacts)


def build(settings: Settings, facts: RunFacts) -> dict[str, str]:
    """All metadata but the hashes. Values are strings made by `str`, dictionaries JSON, as sd-scripts writes them."""
    values = {
        **_run(facts),
        **_base_model(facts),
        **_data(settings, facts.data),
        **network(settings.network),
        **_optimizer(settings, facts),
        **_loss(settings, facts),
        **_ABSENT,
    }
    ss = {f"ss_{name}": str(value) for name, value in values.items()}
    return ss | named(settings.naming.output_name) | _modelspec(settings, facts) | _recipe(settings)


def named(output_name: str) -> dict[str, str]:
    """The entries that hold the file's name; the web UI takes `ss_output_name` as the alias in prompts."""
    return {"ss_output_name": output_name, "modelspec.title": output_name}


def _run(facts: RunFacts) -> dict[str, Any]:
    return {
        "session_id": facts.session_id,
        "training_started_at": facts.started_at,
        "training_finished_at": facts.finished_at,
        "steps": facts.steps,
        "epoch": facts.epoch,
        "max_train_steps": facts.total_steps,
        "num_epochs": facts.num_epochs,
        "num_batches_per_epoch": facts.num_batches_per_epoch,
        "mixed_precision": facts.mixed_precision,
    }


_VERSIONS = {"SD1": "sd_v1", "SD2": "sd_v2", "SDXL": "sdxl_base_v1-0"}


def _base_model(facts: RunFacts) -> dict[str, Any]:
    version, identity = _VERSIONS[facts.family], facts.identity
    suffix = "_v" if facts.prediction == "v_prediction" and facts.family != "SDXL" else ""
    known = {
        "sd_model_hash": identity.legacy_hash,
        "new_sd_model_hash": identity.sha256,
        "vae_name": _base_name(identity.vae),
    }
    return {
        "v2": facts.family == "SD2",
        "base_model_version": version + suffix,
        "sd_model_name": checkpoint_name(identity),
        "clip_skip": facts.clip_skip,
        "zero_terminal_snr": facts.zero_terminal_snr,
        **{name: value for name, value in known.items() if value},
    }


def checkpoint_name(identity: Identity) -> str:
    """File name of the checkpoint: without its folders, and without the hash that titles end with."""
    return _base_name(identity.path) or _base_name(re.sub(r" \[[0-9a-f]+\]$", "", identity.title))


def _base_name(path: str) -> str:
    return PureWindowsPath(path).name  # takes both kinds of slashes


def _data(settings: Settings, data: DataFacts) -> dict[str, Any]:
    s, c, batch = settings.data, settings.captions, settings.training.train_batch_size
    return {
        "num_train_images": data.num_train_images,
        "num_reg_images": data.num_reg_images,
        "dataset_dirs": json.dumps(data.dataset_dirs),
        "reg_dataset_dirs": json.dumps(data.reg_dataset_dirs),
        "tag_frequency": json.dumps(data.tag_frequency),
        "bucket_info": json.dumps(data.bucket_info),
        "batch_size_per_device": batch,
        "total_batch_size": batch * settings.training.gradient_accumulation_steps,
        "resolution": size_of(s.resolution),
        "enable_bucket": s.enable_bucket,
        "min_bucket_reso": s.min_bucket_reso if s.enable_bucket else None,
        "max_bucket_reso": s.max_bucket_reso if s.enable_bucket else None,
        "bucket_no_upscale": s.bucket_no_upscale,
        "flip_aug": s.flip_aug,
        "color_aug": s.color_aug,
        "random_crop": s.random_crop,
        "face_crop_aug_range": face_range(s),
        "cache_latents": not varies(s),
        "shuffle_caption": c.shuffle_caption,
        "keep_tokens": c.keep_tokens,
        "caption_dropout_rate": c.caption_dropout_rate,
        "caption_dropout_every_n_epochs": c.caption_dropout_every_n_epochs,
        "caption_tag_dropout_rate": c.caption_tag_dropout_rate,
        "max_token_length": c.max_token_length if c.max_token_length > 75 else None,
    }


_OPTIMIZERS = {
    "AdamW": "torch.optim.adamw.AdamW",
    "AdamW8bit": "bitsandbytes.optim.adamw.AdamW8bit",
    "Prodigy": "prodigyopt.prodigy.Prodigy",
    "DAdaptAdam": "dadaptation.dadapt_adam.DAdaptAdam",
    "DAdaptLion": "dadaptation.dadapt_lion.DAdaptLion",
    "AdaFactor": "transformers.optimization.Adafactor",
    "AdamWScheduleFree": "schedulefree.adamw_schedulefree.AdamWScheduleFree",
    "CAME": "came_pytorch.CAME.CAME",
    "Lion": "lion_pytorch.lion_pytorch.Lion",
    "Lion8bit": "bitsandbytes.optim.lion.Lion8bit",
    "PagedAdamW8bit": "bitsandbytes.optim.adamw.PagedAdamW8bit",
    "SGDNesterov": "torch.optim.sgd.SGD",
    "SGDNesterov8bit": "bitsandbytes.optim.sgd.SGD8bit",
}


def _optimizer(settings: Settings, facts: RunFacts) -> dict[str, Any]:
    o, n, t = settings.optimizer, settings.network, settings.training
    args = ",".join(f"{name}={value}" for name, value in facts.optimizer_args.items())
    warmup = o.lr_warmup_steps
    kind = facts.optimizer or o.optimizer_type
    if facts.optimizer_args.get("relative_step"):  # AdaFactor on its own: sd-scripts drops the rates like this
        rates = {"learning_rate": None, "unet_lr": None, "text_encoder_lr": None}
        scheduler = {"lr_scheduler": f"adafactor:{o.learning_rate}"}
    else:
        # sd-scripts: None is the master rate, 0 is not trained
        scale = rate_scale(settings)
        rates = {
            "learning_rate": o.learning_rate * scale,
            "unet_lr": (o.unet_lr * scale or None) if n.train_unet else 0.0,
            "text_encoder_lr": (o.text_encoder_lr * scale or None) if n.train_text_encoder else 0.0,
        }
        scheduler = {"lr_scheduler": o.lr_scheduler}
    return {
        "optimizer": _OPTIMIZERS.get(kind, kind) + (f"({args})" if args else ""),
        **rates,
        **scheduler,
        "lr_warmup_steps": int(warmup) if warmup == int(warmup) else warmup,
        "max_grad_norm": o.max_grad_norm,
        "gradient_accumulation_steps": t.gradient_accumulation_steps,
        "gradient_checkpointing": t.gradient_checkpointing,
        "seed": t.seed,
    }


def _loss(settings: Settings, facts: RunFacts) -> dict[str, Any]:
    loss = settings.loss
    return {
        "min_snr_gamma": loss.min_snr_gamma or None,
        "noise_offset": loss.noise_offset or None,
        "adaptive_noise_scale": loss.adaptive_noise_scale or None,
        "multires_noise_iterations": loss.multires_noise_iterations or None,
        "multires_noise_discount": loss.multires_noise_discount,
        "ip_noise_gamma": loss.ip_noise_gamma or None,
        "debiased_estimation": loss.debiased_estimation_loss,
        "loss_type": loss.loss_type,
        "prior_loss_weight": loss.prior_loss_weight,
        "training_comment": settings.naming.training_comment or None,
    }


# What sd-scripts writes with these features off; readers of its metadata expect the entries.
_ABSENT = {
    "fp8_base": False, "fp8_base_unet": False, "full_fp16": False, "lowram": False,
}  # fmt: skip

_ARCHITECTURES = {
    ("SD1", "epsilon"): ("stable-diffusion-v1", "diffusers"),
    ("SD1", "v_prediction"): ("stable-diffusion-v1", "diffusers"),
    ("SD2", "epsilon"): ("stable-diffusion-v2-512", "diffusers"),
    ("SD2", "v_prediction"): ("stable-diffusion-v2-768-v", "diffusers"),
    ("SDXL", "epsilon"): ("stable-diffusion-xl-v1-base", "https://github.com/Stability-AI/generative-models"),
    ("SDXL", "v_prediction"): ("stable-diffusion-xl-v1-base", "https://github.com/Stability-AI/generative-models"),
}


def _modelspec(settings: Settings, facts: RunFacts) -> dict[str, str]:
    """Stability's model specification 1.0.1; `modelspec.title` comes from `named`."""
    architecture, implementation = _ARCHITECTURES[facts.family, facts.prediction]
    width, height = size_of(settings.data.resolution)
    naming = settings.naming
    spec = {
        "sai_model_spec": "1.0.1",
        "architecture": f"{architecture}/lora",
        "implementation": implementation,
        "implementation_version": f"train-lora/{__version__}",
        "resolution": f"{width}x{height}",
        "prediction_type": "v" if facts.prediction == "v_prediction" else "epsilon",
        "date": datetime.datetime.fromtimestamp(int(facts.finished_at)).isoformat(),
        "description": naming.training_comment,
        "trigger_phrase": naming.activation_text or naming.trigger_word,
        "encoder_layer": str(facts.clip_skip),
        "timestep_range": _span(settings.loss),
    }
    return {f"modelspec.{name}": value for name, value in spec.items() if value}


def _span(loss: LossSettings) -> str:
    """The timesteps trained on, "" for all."""
    first, last = loss.min_timestep, loss.max_timestep
    return "" if (first, last) == (0, 1000) else f"{first},{last}"


def _recipe(settings: Settings) -> dict[str, str]:
    """Our recipe whole but for the paths, of which only the base names stay, to remind whoever trains it again."""
    flat = to_mapping(settings)
    paths = {name: flat.pop(name) for name in PATH_FIELDS}
    names = {name: folder_name(PureWindowsPath(path)) for name, path in paths.items() if path.strip()}
    return {
        RECIPE_KEY: json.dumps({"recipe_version": RECIPE_VERSION, **flat}, ensure_ascii=False),
        FOLDERS_KEY: json.dumps(names, ensure_ascii=False),
    }
