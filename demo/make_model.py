"""The checkpoint being made: its tensors in float32 under LDM's names, and modules that train them in place."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from diffusers.models.attention_processor import AttnProcessor
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lib_lora_train.families.borrow import Source, borrow
from lib_lora_train.families.tokenizer import ClipTokenizer

from .ldm_layout import Sizes, checkpoint

SIZES = Sizes(64, (1, 2, 2, 2), attended=3, blocks=2, context=64, text_layers=4, vae_channels=64)
UNET, TEXT, VAE = "model.diffusion_model.", "cond_stage_model.transformer.", "first_stage_model."
SCALE = 0.18215


class Model:
    """`tensors` by full key; `unet`, `text` and `vae` are modules on the same storages."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = {key: _wide(tensor) for key, tensor in tensors.items()}
        parts = [{k[len(p) :]: v for k, v in self.tensors.items() if k.startswith(p)} for p in (UNET, TEXT, VAE)]
        found = borrow(Source(parts[0], [parts[1]], parts[2], heads=SIZES.heads, text_heads=[SIZES.heads]))
        self.unet, self.text, self.vae = found.unet, found.text_encoders[0], found.vae
        self.unet.set_attn_processor(AttnProcessor())
        self._tokenizer = ClipTokenizer()

    def encode(self, captions: list[str]) -> Tensor:
        """Context [B, 77, C] with gradient."""
        return self.text(self.rows(captions))[0]

    def rows(self, captions: list[str]) -> Tensor:
        """Token ids [B, 77]."""
        tok = self._tokenizer
        ids = [tok.encode(caption)[:75] for caption in captions]
        return torch.tensor([[tok.bos, *each, *[tok.eos] * (76 - len(each))] for each in ids])

    @torch.no_grad()
    def latents(self, pixels: Tensor) -> Tensor:
        """[B, 3, H, W] in -1 to 1, to scaled latents [B, 4, H/8, W/8]: the mean, without noise."""
        return self.vae.encode(pixels).latent_dist.mode() * SCALE

    @torch.no_grad()
    def pixels(self, latents: Tensor) -> Tensor:
        return self.vae.decode(latents / SCALE).sample.clamp(-1, 1)

    def trained(self) -> list[tuple[nn.Module, str]]:
        return [(self.unet, "unet"), (self.text, "text")]

    def save(self, path: Path) -> None:
        """Half precision, written beside and renamed."""
        beside = path.with_suffix(".part")
        half = {k: (v.half() if v.is_floating_point() else v).contiguous().clone() for k, v in self.tensors.items()}
        save_file(half, beside, {"format": "pt"})
        beside.replace(path)


def load(path: Path) -> Model:
    return Model(load_file(path))


def _wide(tensor: Tensor) -> Tensor:
    """Float32, and convolutions with their channels last: a tenth faster on a CPU."""
    if not tensor.is_floating_point():
        return tensor
    return tensor.float().contiguous(memory_format=torch.channels_last if tensor.ndim == 4 else torch.contiguous_format)


def nothing(generator: torch.Generator) -> Model:
    """All of it untrained."""
    model = Model({key: torch.empty(shape) for key, shape in checkpoint(SIZES).items()})
    fresh_layers(model, generator)
    fresh_text(model, generator)
    return model


@torch.no_grad()
def fresh_layers(model: Model, generator: torch.Generator) -> None:
    """U-Net and VAE as LDM code begins: deviation by fan-in, norms at one, and every branch's last layer silent."""
    for key, tensor in model.tensors.items():
        if key.startswith(TEXT):
            continue
        if tensor.ndim == 1:
            tensor.fill_(1.0 if "norm" in key and key.endswith("weight") or key.endswith(_NORMS) else 0.0)
        elif key.startswith(UNET) and key.endswith(_SILENT):
            tensor.zero_()
        else:
            tensor.normal_(0, 1 / math.sqrt(math.prod(tensor.shape[1:])), generator=generator)


_NORMS = ("in_layers.0.weight", "out_layers.0.weight", "out.0.weight")
_SILENT = ("out_layers.3.weight", "proj_out.weight", "out.2.weight")


@torch.no_grad()
def fresh_text(model: Model, generator: torch.Generator) -> None:
    """A text encoder from nothing that begins as a bag of words: which word it is outweighs its position and what the
    layers make of it, so that cross-attention can tell words apart from the first step on."""
    for key, tensor in model.tensors.items():
        if not key.startswith(TEXT) or not tensor.is_floating_point():
            continue
        if tensor.ndim == 1:
            tensor.fill_(1.0 if "norm" in key and key.endswith("weight") else 0.0)
        else:
            tensor.normal_(0, _deviation(key, tensor.shape[1]), generator=generator)
    for key, tensor in model.tensors.items():
        if "attn2.to_q" in key or "attn2.to_k" in key:
            tensor *= 1.6  # heads look at single words rather than at the mean of all


def _deviation(key: str, inputs: int) -> float:
    if "embedding" in key:
        return 0.5 if "token" in key else 0.1
    return (0.3 if key.endswith(("out_proj.weight", "fc2.weight")) else 1.0) / math.sqrt(inputs)
