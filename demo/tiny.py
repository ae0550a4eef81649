"""Makes a checkpoint of a few megabytes with random weights in LDM's layout, for tests and the demo."""

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
from .ldm_yaml import configuration

_QUIET_LATENTS = -8.0  # log variance: what the encoder draws is close to its mean, so that there is something to learn


def make(
    folder: Path,
    name: str = "",
    v_prediction: bool = False,
    dtype: torch.dtype = torch.float32,
    zero_terminal_snr: bool = False,
    sizes: Sizes | None = None,
) -> Path:
    """Write `name.safetensors`, its `name.yaml` and the folder `name-clip` that LDM code asks for; gives the first.

    The name is by default `tiny-sd1`, after the family. The same arguments always give the same weights.
    """
    sizes = sizes or Sizes()
    name = name or f"tiny-{sizes.family.lower()}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.safetensors"
    tensors = {key: _tensor(key, shape).to(dtype) for key, shape in checkpoint(sizes).items()}
    marks = {"v_pred": v_prediction, "ztsnr": zero_terminal_snr}
    save_file({**tensors, **{mark: torch.empty(0) for mark, there in marks.items() if there}}, path, {"format": "pt"})
    clip_folder(folder / f"{name}-clip", sizes)
    yaml = configuration(sizes, v_prediction, folder / f"{name}-clip")
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


def clip_folder(folder: Path, sizes: Sizes) -> None:
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    print(make(parser.parse_args().folder))
