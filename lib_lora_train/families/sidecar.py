"""What a checkpoint file does not show in its weights: prediction type, schedule, scale, heads; from yaml and marks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import HostError
from ..objectives.schedule import is_zero_terminal, scaled_linear, zero_terminal
from .kinds import TextKind
from .loan import Family

_UNET = "model.diffusion_model."
_PREDICTIONS = {"eps": "epsilon", "v": "v_prediction", "": ""}
_SCALINGS = {"EpsScaling": "eps", "VScaling": "v"}  # what sgm calls them
_OTHER_NOISE = ("edm_mean", "edm_vpred.sigma_max", "edm_vpred.sigma_min")  # marks of checkpoints on another schedule
_SMALL_MODEL = 512  # text encoders narrower than this do not have CLIP's 64 channels per head


@dataclass(frozen=True)
class Facts:
    alphas_cumprod: Tensor  # [T] float32
    vae_scale: float
    prediction: str = "epsilon"  # "": only the model itself can tell
    heads: int = 0  # of the U-Net's first attention; 0: the family's
    text_heads: tuple[int, ...] = ()  # one per text encoder, 0: 64 channels per head
    text_activations: tuple[str, ...] = ()  # (): the family's

    @property
    def zero_terminal_snr(self) -> bool:
        return is_zero_terminal(self.alphas_cumprod)


def facts(checkpoint: Path, tensors: Mapping[str, Tensor], family: Family) -> Facts:
    """Of `checkpoint`, whose tensors by full key are `tensors`. The yaml beside it (LDM's or sgm's model configuration)
    wins over marks inside it (`v_pred`, `ztsnr`). Raises HostError when the yaml cannot be understood, or when the
    checkpoint was trained on another kind of noise."""
    odd = next((mark for mark in _OTHER_NOISE if mark in tensors), None)
    if odd:
        raise HostError(f"{checkpoint.name} has a noise schedule of its own (`{odd}`).", "Load another checkpoint.")
    path = checkpoint.with_suffix(".yaml")
    try:
        return _facts(_params(path), tensors, family)
    except (TypeError, ValueError) as error:
        raise HostError(f"{path.name} cannot be understood ({error}).", "Correct or remove the file.") from error


def _facts(params: Mapping[str, Any], tensors: Mapping[str, Tensor], family: Family) -> Facts:
    heads = _heads(_inner(params, "unet_config") or _inner(params, "network_config"), tensors)
    clips = [_clip_config(config) for config in _text_configs(params)] or [{}] * len(family.texts)
    kinds = list(zip(family.texts, clips, strict=True))
    return Facts(
        alphas_cumprod=_schedule(params, tensors),
        vae_scale=float(params.get("scale_factor", family.vae_scale)),
        prediction=_prediction(_parameterization(params, tensors, family)),
        heads=heads,
        text_heads=tuple(_text_heads(kind, clip, tensors, heads) for kind, clip in kinds),
        text_activations=tuple(str(clip.get("hidden_act", kind.activation)) for kind, clip in kinds),
    )


def _parameterization(params: Mapping[str, Any], tensors: Mapping[str, Tensor], family: Family) -> str:
    if "parameterization" in params:
        return str(params["parameterization"])
    scaling = _inner(params, "denoiser_config").get("scaling_config")
    if isinstance(scaling, dict):
        name = str(scaling.get("target", "")).rpartition(".")[2]
        return _SCALINGS.get(name, name)
    return "v" if "v_pred" in tensors else family.usual_prediction


def _heads(unet: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> int:
    """Of the first attention, which is the narrowest; 0 when the yaml does not say."""
    width = int(unet.get("num_head_channels", 0))
    if width <= 0:
        return max(0, int(unet.get("num_heads", 0)))
    around = [t.shape[0] for key, t in tensors.items() if key.startswith(_UNET) and key.endswith("proj_in.weight")]
    return min(around, default=width) // width


def _text_heads(kind: TextKind, clip: Mapping[str, Any], tensors: Mapping[str, Tensor], heads: int) -> int:
    key = next((key for key in tensors if key.startswith(kind.prefix) and key.endswith("token_embedding.weight")), "")
    narrow = bool(key) and tensors[key].shape[1] < _SMALL_MODEL and not kind.is_openclip
    return int(clip.get("num_attention_heads", heads if narrow else 0))


def _text_configs(params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Parameters of the text encoders, the first first; [] when the yaml does not say."""
    embedders = _inner(params, "conditioner_config").get("emb_models")
    if isinstance(embedders, list):
        texts = [item for item in embedders if isinstance(item, dict) and item.get("input_key") == "txt"]
        return [_inner({"text": item}, "text") for item in texts]
    return [_inner(params, "cond_stage_config")] if "cond_stage_config" in params else []


def _prediction(parameterization: str) -> str:
    if parameterization not in _PREDICTIONS:
        raise ValueError(f"unknown parameterization {parameterization!r}")
    return _PREDICTIONS[parameterization]


def _schedule(params: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Tensor:
    if "alphas_cumprod" in tensors:
        found = tensors["alphas_cumprod"].detach().to("cpu", torch.float32, copy=True)
    else:
        start, end = float(params.get("linear_start", 0.00085)), float(params.get("linear_end", 0.012))
        found = scaled_linear(start, end, int(params.get("timesteps", 1000)))
    wanted = "ztsnr" in tensors or bool(params.get("zero_terminal_snr", params.get("rescale_betas_zero_snr", False)))
    return zero_terminal(found) if wanted and not is_zero_terminal(found) else found


def _params(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    import yaml  # comes with diffusers and transformers

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, OSError) as error:
        raise ValueError(str(error)) from error
    return _inner(content if isinstance(content, dict) else {}, "model")


def _inner(params: Mapping[str, Any], name: str) -> dict[str, Any]:
    config = params.get(name)
    inner = config.get("params") if isinstance(config, dict) else None
    return inner if isinstance(inner, dict) else {}


def _clip_config(params: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration in the folder that a small checkpoint's yaml names; an ordinary one names none."""
    path = Path(str(params.get("version", ""))) / "config.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
