"""Makes a checkpoint of a few megabytes with random weights in SD1's layout, for tests and the demo."""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from lib_lora_train.families.tokenizer import vocabulary

from .ldm_layout import Sizes, checkpoint

_QUIET_LATENTS = -8.0  # log variance: what the encoder draws is close to its mean, so that there is something to learn


def make(
    folder: Path,
    name: str = "tiny-sd1",
    v_prediction: bool = False,
    dtype: torch.dtype = torch.float32,
    zero_terminal_snr: bool = False,
    sizes: Sizes | None = None,
) -> Path:
    """Write `name.safetensors`, its `name.yaml` and the folder `name-clip` that LDM code asks for; gives the first.

    The same arguments always give the same weights.
    """
    sizes = sizes or Sizes()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.safetensors"
    tensors = {key: _tensor(key, shape).to(dtype) for key, shape in checkpoint(sizes).items()}
    marks = {"v_pred": v_prediction, "ztsnr": zero_terminal_snr}
    save_file({**tensors, **{mark: torch.empty(0) for mark, there in marks.items() if there}}, path, {"format": "pt"})
    _clip_folder(folder / f"{name}-clip", sizes)
    yaml = _YAML.format(
        parameterization="v" if v_prediction else "eps",
        channels=sizes.channels,
        multipliers=list(sizes.multipliers),
        attended=[2**level for level in range(sizes.attended)],
        blocks=sizes.blocks,
        heads=sizes.heads,
        context=sizes.context,
        vae_channels=sizes.vae_channels,
        vae_multipliers=list(sizes.vae_multipliers),
        vae_blocks=sizes.vae_blocks,
        clip=json.dumps(str((folder / f"{name}-clip").resolve())),
    )
    path.with_suffix(".yaml").write_text(yaml, encoding="utf-8")
    return path


def _tensor(key: str, shape: tuple[int, ...]) -> Tensor:
    """Random, keyed by the name, at a scale that keeps activations near one."""
    if key.endswith("quant_conv.bias") and "post" not in key:
        return torch.cat([torch.zeros(4), torch.full((4,), _QUIET_LATENTS)])
    seed = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=7).digest(), "little")
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    if len(shape) == 1:
        return 1 + 0.1 * noise if key.endswith("weight") else 0.1 * noise
    if "embedding" in key:
        return 0.1 * noise
    weight = noise / math.sqrt(math.prod(shape[1:]))
    if key.endswith("first_stage_model.quant_conv.weight"):
        weight[4:] *= 0.1
    return weight


def _clip_folder(folder: Path, sizes: Sizes) -> None:
    """What transformers' `from_pretrained` reads for CLIP's configuration and tokenizer."""
    folder.mkdir(exist_ok=True)
    words, merges = vocabulary()
    special = {"bos_token": words[-2], "eos_token": words[-1], "pad_token": words[-1], "unk_token": words[-1]}
    config = {
        "architectures": ["CLIPTextModel"],
        "model_type": "clip_text_model",
        "hidden_act": "quick_gelu",
        "hidden_size": sizes.context,
        "projection_dim": sizes.context,
        "intermediate_size": 4 * sizes.context,
        "num_attention_heads": sizes.heads,
        "num_hidden_layers": sizes.text_layers,
        "vocab_size": len(words),
        "max_position_embeddings": 77,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": 1,
        "torch_dtype": "float32",
    }
    files = {
        "config.json": json.dumps(config, indent=1),
        "vocab.json": json.dumps({word: index for index, word in enumerate(words)}, ensure_ascii=False),
        "merges.txt": "#version: 0.2\n" + "\n".join(" ".join(pair) for pair in merges) + "\n",
        "special_tokens_map.json": json.dumps(special),
        "tokenizer_config.json": json.dumps({"model_max_length": 77, "tokenizer_class": "CLIPTokenizer", **special}),
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


_YAML = """\
model:
  target: ldm.models.diffusion.ddpm.LatentDiffusion
  params:
    linear_start: 0.00085
    linear_end: 0.012
    timesteps: 1000
    parameterization: {parameterization}
    first_stage_key: jpg
    cond_stage_key: txt
    image_size: 16
    channels: 4
    conditioning_key: crossattn
    scale_factor: 0.18215
    use_ema: false
    unet_config:
      target: ldm.modules.diffusionmodules.openaimodel.UNetModel
      params: {{image_size: 16, in_channels: 4, out_channels: 4, model_channels: {channels}, \
attention_resolutions: {attended}, num_res_blocks: {blocks}, channel_mult: {multipliers}, num_heads: {heads}, \
use_spatial_transformer: true, transformer_depth: 1, context_dim: {context}, use_checkpoint: false, legacy: false}}
    first_stage_config:
      target: ldm.models.autoencoder.AutoencoderKL
      params:
        embed_dim: 4
        ddconfig: {{double_z: true, z_channels: 4, resolution: 128, in_channels: 3, out_ch: 3, ch: {vae_channels}, \
ch_mult: {vae_multipliers}, num_res_blocks: {vae_blocks}, attn_resolutions: [], dropout: 0.0}}
        lossconfig: {{target: torch.nn.Identity}}
    cond_stage_config:
      target: ldm.modules.encoders.modules.FrozenCLIPEmbedder
      params: {{version: {clip}}}
"""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    print(make(parser.parse_args().folder))
