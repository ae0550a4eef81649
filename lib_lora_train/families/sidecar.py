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

_PREDICTIONS = {"eps": "epsilon", "v": "v_prediction"}
_SMALL_MODEL = 512  # text encoders narrower than this do not have CLIP's 64 channels per head


@dataclass(frozen=True)
class Facts:
    """Defaults are Stable Diffusion 1's."""

    alphas_cumprod: Tensor  # [T] float32
    prediction: str = "epsilon"
    vae_scale: float = 0.18215
    heads: int = 8
    text_heads: int = 0  # 0: 64 channels per head
    text_activation: str = "quick_gelu"

    @property
    def zero_terminal_snr(self) -> bool:
        return is_zero_terminal(self.alphas_cumprod)


def facts(checkpoint: Path, tensors: Mapping[str, Tensor]) -> Facts:
    """Of `checkpoint`, whose tensors by full key are `tensors`. The yaml beside it (LDM's model configuration) wins
    over marks inside it (`v_pred`, `ztsnr`). Raises HostError when the yaml cannot be understood."""
    path = checkpoint.with_suffix(".yaml")
    try:
        return _facts(_params(path), tensors)
    except (TypeError, ValueError) as error:
        raise HostError(f"{path.name} cannot be understood ({error}).", "Correct or remove the file.") from error


def _facts(params: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Facts:
    heads = int(_inner(params, "unet_config").get("num_heads", Facts.heads))
    clip = _clip_config(_inner(params, "cond_stage_config"))
    return Facts(
        alphas_cumprod=_schedule(params, tensors),
        prediction=_prediction(str(params.get("parameterization", "v" if "v_pred" in tensors else "eps"))),
        vae_scale=float(params.get("scale_factor", Facts.vae_scale)),
        heads=heads,
        text_heads=int(clip.get("num_attention_heads", heads if _narrow(tensors) else Facts.text_heads)),
        text_activation=str(clip.get("hidden_act", Facts.text_activation)),
    )


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


def _narrow(tensors: Mapping[str, Tensor]) -> bool:
    return any(
        key.endswith("token_embedding.weight") and tensor.shape[1] < _SMALL_MODEL for key, tensor in tensors.items()
    )
