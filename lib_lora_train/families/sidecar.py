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
    over marks inside it (`v_pred`, `ztsnr`). Raises HostError when the yaml cannot be read."""
    params = _params(checkpoint.with_suffix(".yaml"))
    mark = "v" if "v_pred" in tensors else "eps"
    kind = str(params.get("parameterization", mark))
    if kind not in ("v", "eps"):
        raise HostError(f"{checkpoint.stem}.yaml names the parameterization {kind!r}.", "Known are eps and v.")
    unet = _inner(params, "unet_config")
    heads = int(unet.get("num_heads", Facts.heads))
    clip = _clip_config(_inner(params, "cond_stage_config"))
    return Facts(
        alphas_cumprod=_schedule(params, tensors),
        prediction="v_prediction" if kind == "v" else "epsilon",
        vae_scale=float(params.get("scale_factor", Facts.vae_scale)),
        heads=heads,
        text_heads=int(clip.get("num_attention_heads", heads if _narrow(tensors) else 0)),
        text_activation=str(clip.get("hidden_act", Facts.text_activation)),
    )


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
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise HostError(f"{path.name} cannot be read ({error}).", "Correct or remove the file.") from error
    model = content.get("model") if isinstance(content, dict) else None
    params = model.get("params") if isinstance(model, dict) else None
    return params if isinstance(params, dict) else {}


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
