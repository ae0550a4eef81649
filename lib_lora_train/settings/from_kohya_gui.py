"""kohya_ss' configurations: what its LoRA tab saves as JSON, in sd-scripts' options."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .found import Found, shown, valid
from .from_command_line import options_of
from .from_sd_options import whole

_RENAMED = {
    "max_resolution": "resolution",
    "optimizer": "optimizer_type",
    "lora_network_weights": "network_weights",  # its older name
    "stop_text_encoder_training_pct": "stop_text_encoder_training",  # likewise
}
# LoRA_type: (module, algorithm, its arguments by the form's fields). `constrain` is LyCORIS' `constraint`.
_BLOCKS = ("down_lr_weight", "mid_lr_weight", "up_lr_weight", "block_lr_zero_threshold", "block_dims", "block_alphas",
           "conv_block_dims", "conv_block_alphas")  # fmt: skip
_DROPOUTS = ("rank_dropout", "module_dropout")
_CONV = ("conv_dim", "conv_alpha")
_LYCORIS = (*_CONV, *_DROPOUTS, "rank_dropout_scale", "use_tucker", "use_cp", "train_norm", "LyCORIS_preset")
_DORA = ("bypass_mode", "dora_wd", "use_scalar")
_TYPES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "Standard": ("networks.lora", "", (*_BLOCKS, *_DROPOUTS)),
    "Kohya LoCon": ("networks.lora", "", (*_CONV, *_BLOCKS, *_DROPOUTS)),
    "Kohya DyLoRA": ("networks.dylora", "", (*_CONV, *_BLOCKS, *_DROPOUTS, "unit")),
    "Kohya LoHa": ("networks.loha", "", (*_CONV, *_DROPOUTS, "use_tucker")),
    "Kohya LoKr": ("networks.lokr", "", (*_CONV, *_DROPOUTS, "use_tucker", "factor")),
    "LoRA-FA": ("networks.lora_fa", "", (*_BLOCKS, *_DROPOUTS)),
    "LoCon": ("lycoris.kohya", "locon", (*_LYCORIS, *_DORA)),
    "LyCORIS/LoCon": ("lycoris.kohya", "locon", (*_LYCORIS, *_DORA)),
    "LyCORIS/LoHa": ("lycoris.kohya", "loha", (*_LYCORIS, *_DORA)),
    "LyCORIS/LoKr": ("lycoris.kohya", "lokr", (*_LYCORIS, *_DORA, "factor", "decompose_both")),
    "LyCORIS/DyLoRA": ("lycoris.kohya", "dylora", (*_LYCORIS, "unit")),
    "LyCORIS/iA3": ("lycoris.kohya", "ia3", (*_CONV, "train_on_input", "LyCORIS_preset")),
    "LyCORIS/GLoRA": ("lycoris.kohya", "glora", _LYCORIS),
    "LyCORIS/BOFT": ("lycoris.kohya", "boft", _LYCORIS),
    "LyCORIS/Diag-OFT": ("lycoris.kohya", "diag-oft", (*_LYCORIS, "constrain", "rescaled")),
    "LyCORIS/Native Fine-Tuning": ("lycoris.kohya", "full", _LYCORIS),
}
_ARGUMENTS = {name for _, _, names in _TYPES.values() for name in names} | {"use_scalar"}
_ARGUMENT_NAMES = {"LyCORIS_preset": "preset", "constrain": "constraint"}
_DEFAULTS = {"factor": -1, "unit": 1, "train_on_input": True, "LyCORIS_preset": "full", "block_lr_zero_threshold": 0}
# Fields of other kinds of models and of the form itself, which say nothing about the training of ours.
_FOREIGN = ("flux1_", "sd3_", "hunyuan_", "anima_", "lumina_", "t5xxl", "clip_g", "clip_l", "img_", "txt_", "single_",
            "double_", "huggingface_", "ggpo_", "train_double_", "train_single_", "dynamo_")  # fmt: skip
_FAMILY = re.compile(r"(flux1|sd3|hunyuan_image|anima|lumina)_checkbox")  # switches to models of another kind
_FORM = {
    "LoRA_type", "noise_offset_type", "epoch", "sample_prompts", "lr_warmup", "additional_parameters", "model_list",
    "save_as_bool",
    "logit_mean", "logit_std", "mode_scale", "pos_emb_random_crop_rate", "weighting_scheme", "split_mode",
    "train_blocks", "discrete_flow_shift", "model_prediction_type", "timestep_sampling", "guidance_scale",
    "apply_t5_attn_mask", "split_qkv", "cpu_offload_checkpointing", "blocks_to_swap", "show_timesteps", "ae", "in_dims",
    "show_timesteps_resolution", "enable_all_linear", "mem_eff_save", "save_clip", "save_t5xxl", "model_type",
    "train_lora_ggpo", "async_upload", "dim_from_weights", "no_token_padding", "extra_accelerate_launch_args",
}  # fmt: skip
_ZERO_IS_UNSET = ("clip_skip", "seed", "max_train_epochs", "max_train_steps", "min_timestep", "max_timestep",
                  "unet_lr", "text_encoder_lr", "vae_batch_size")  # fmt: skip


def looks_like_one(values: Mapping[str, Any]) -> bool:
    return "LoRA_type" in values or ("max_resolution" in values and "epoch" in values)


def read_kohya_gui(values: Mapping[str, Any], folders: bool = False) -> Found:
    """Raises SettingsError for additional parameters that are no command line."""
    form = {str(name): value for name, value in values.items() if value not in (None, "", "None")}
    options = {
        _RENAMED.get(name, name): value
        for name, value in form.items()
        if not (name in _FORM or name in _ARGUMENTS or name.startswith(_FOREIGN))
        and not (name in _ZERO_IS_UNSET and _zero(value))
    }
    options |= _length(form) | _parts(form) | _noise(form, options) | _network(form)
    more, lost = options_of(str(form["additional_parameters"])) if form.get("additional_parameters") else ({}, [])
    found = whole({**options, **more}, "kohya_ss", folders)
    settings = found.settings | _prompts(form.get("sample_prompts"))
    families = [name for name, on in form.items() if _FAMILY.fullmatch(name) and on not in (False, "False")]
    lost += [shown(name, form[name], "made for models that are not trained here") for name in families]
    return Found(settings, found.source, lost + found.not_carried, found.translated)


def _prompts(text: Any) -> dict[str, str]:
    """The form holds the prompts themselves; what stands behind them (`--w 512`) means the same here."""
    if not isinstance(text, str):
        return {}
    lines = [line.strip() for line in text.splitlines()]
    return valid({"sample_prompts": "\n".join(line for line in lines if line and not line.startswith("#"))})[0]


def _length(form: Mapping[str, Any]) -> dict[str, Any]:
    """Epochs, when neither steps nor "max train epochs" say otherwise; the warm-up is given in percent."""
    options: dict[str, Any] = {}
    if _zero(form.get("max_train_epochs", 0)) and _zero(form.get("max_train_steps", 0)) and "epoch" in form:
        options["max_train_epochs"] = form["epoch"]
    if not _zero(form.get("lr_warmup", 0)) and _zero(form.get("lr_warmup_steps", 0)):
        options["lr_warmup_steps"] = f"{form['lr_warmup']}%"
    return options


def _parts(form: Mapping[str, Any]) -> dict[str, Any]:
    """A rate of 0 beside another one switches its part off; both at 0 mean the master rate."""
    text, unet = (not _zero(form.get(name, 0)) for name in ("text_encoder_lr", "unet_lr"))
    if text == unet:
        return {}
    return {"network_train_unet_only" if unet else "network_train_text_encoder_only": True}


def _noise(form: Mapping[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Of the two kinds of noise offset only the chosen one counts."""
    kind = form.get("noise_offset_type", "Original")
    unused = ("multires_noise_iterations", "multires_noise_discount")
    if kind == "Multires":
        unused = ("noise_offset", "adaptive_noise_scale", "noise_offset_random_strength")
    for name in unused:
        options.pop(name, None)
    return {}


def _network(form: Mapping[str, Any]) -> dict[str, Any]:
    kind = str(form.get("LoRA_type", "Standard"))
    module, algorithm, names = _TYPES.get(kind, (kind, "", ()))
    args = {
        _ARGUMENT_NAMES.get(name, name): form[name]
        for name in names
        if name in form and form[name] != _DEFAULTS.get(name) and form[name] is not False
    }
    return {"network_module": module, "network_args": args | ({"algo": algorithm} if algorithm else {})}


def _zero(value: Any) -> bool:
    try:
        return float(value) == 0
    except (TypeError, ValueError):
        return False
