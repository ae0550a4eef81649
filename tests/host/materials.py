"""Files that host tests put before a web UI: other checkpoints like the given one, and LoRAs that fit it."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

_UNET = "model.diffusion_model."
_V_PARAMETERS = "  params:\n    parameterization: v\n    linear_start"
_TEXT = "cond_stage_model.transformer.text_model."


def other_checkpoint(checkpoint: Path, target: Path, change: float = 0.05, yaml: bool = True) -> Path:
    """The same architecture with other weights (every matrix of the U-Net scaled); `yaml` copied if there is one."""
    tensors = load_file(checkpoint)
    for key, tensor in tensors.items():
        if key.startswith(_UNET) and tensor.dim() > 1:
            tensors[key] = tensor * (1 + change)
    return write_checkpoint(tensors, checkpoint, target, yaml)


def inpainting_weights(checkpoint: Path, target: Path) -> Path:
    """Nine input channels."""
    tensors = load_file(checkpoint)
    key = f"{_UNET}input_blocks.0.0.weight"
    extra = torch.zeros_like(tensors[key][:, :1]).expand(-1, 5, -1, -1)
    tensors[key] = torch.cat([tensors[key], extra], dim=1).contiguous()
    return write_checkpoint(tensors, checkpoint, target)


def inpainting_checkpoint(checkpoint: Path, target: Path) -> Path:
    """Nine input channels; where checkpoints have a `.yaml` beside them, that says so too."""
    inpainting_weights(checkpoint, target)
    yaml = target.with_suffix(".yaml")
    if not yaml.exists():
        return target
    text = yaml.read_text().replace("in_channels: 4, out_channels: 4, model", "in_channels: 9, out_channels: 4, model")
    text = text.replace("ddpm.LatentDiffusion", "ddpm.LatentInpaintDiffusion")
    yaml.write_text(text.replace("conditioning_key: crossattn", "conditioning_key: hybrid\n    finetune_keys: null"))
    return target


def with_mark(checkpoint: Path, target: Path, key: str) -> Path:
    """The same weights and an empty tensor, by which checkpoints tell what they are."""
    return write_checkpoint({**load_file(checkpoint), key: torch.zeros(0)}, checkpoint, target)


def v_checkpoint(checkpoint: Path, target: Path, configuration: Path) -> Path:
    """The same weights, and a `.yaml` that says that they predict v; made of `configuration`, the web UI's own for such
    checkpoints, where the checkpoint has none. Some read that line alone."""
    if checkpoint.with_suffix(".yaml").exists():
        return with_yaml(checkpoint, target, "  params:\n    linear_start", _V_PARAMETERS)
    text = configuration.read_text() if configuration.exists() else "model:\n  params:\n"
    target.with_suffix(".yaml").write_text(text.replace("  params:\n", "  params:\n    parameterization: v\n", 1))
    return other_checkpoint(checkpoint, target, 0.0)


def with_yaml(checkpoint: Path, target: Path, old: str, new: str) -> Path:
    """The same weights under another name with `old` replaced in the `.yaml`."""
    write_checkpoint(load_file(checkpoint), checkpoint, target)
    yaml = target.with_suffix(".yaml")
    assert old in yaml.read_text()
    yaml.write_text(yaml.read_text().replace(old, new))
    return target


def write_checkpoint(tensors: dict, checkpoint: Path, target: Path, yaml: bool = True) -> Path:
    """`tensors` to `target`, with the `.yaml` of `checkpoint`."""
    save_file(tensors, target)
    if yaml and checkpoint.with_suffix(".yaml").exists():
        shutil.copyfile(checkpoint.with_suffix(".yaml"), target.with_suffix(".yaml"))
    return target


def vae_file(checkpoint: Path, target: Path, scale: float = 1.1) -> Path:
    """The checkpoint's VAE alone, changed so that one can tell."""
    prefix = "first_stage_model."
    vae = {key[len(prefix) :]: tensor for key, tensor in load_file(checkpoint).items() if key.startswith(prefix)}
    vae["decoder.conv_out.bias"] = vae["decoder.conv_out.bias"] + scale - 1
    save_file(vae, target)
    return target


def lora(checkpoint: Path, target: Path, seed: int = 1, strength: float = 0.5, **metadata: str) -> Path:
    """Random rank-2 weights for every attention query of U-Net and text encoder."""
    draw = torch.Generator().manual_seed(seed)
    made: dict[str, torch.Tensor] = {}
    for key, weight in load_file(checkpoint).items():
        name = _lora_name(key)
        if name is None:
            continue
        made[f"{name}.lora_down.weight"] = torch.randn((2, weight.shape[1]), generator=draw) * weight.shape[1] ** -0.5
        made[f"{name}.lora_up.weight"] = torch.randn((weight.shape[0], 2), generator=draw) * strength
        made[f"{name}.alpha"] = torch.tensor(2.0)
    save_file(made, target, {"ss_output_name": target.stem, **metadata})
    return target


def _lora_name(key: str) -> str | None:
    if key.startswith(_UNET) and key.endswith("attn1.to_q.weight"):
        return "lora_unet_" + key[len(_UNET) : -len(".weight")].replace(".", "_")
    if key.startswith(_TEXT) and key.endswith("q_proj.weight"):
        return "lora_te_text_model_" + key[len(_TEXT) : -len(".weight")].replace(".", "_")
    return None
