"""What tests ask about kinds of networks: made and attached by us, then applied by the web UI's own loader."""

from __future__ import annotations

from pathlib import Path

import probe_model as _model
import torch
from probe_checks_families import host_conditioning
from safetensors.torch import load_file, save_file

from lib_lora_train.adapters.build import build, from_tensors
from lib_lora_train.adapters.load import read
from lib_lora_train.export import lora_file
from lib_lora_train.hosts import detect
from lib_lora_train.settings.options_network import NetworkSettings

_TEXT = "a red circle, on blue"


def make_network(path: str, size: float, options: dict) -> dict:
    """A network of these options with random numbers at `path`, and beside it what our modules compute with and without
    that file attached."""
    network, draw = NetworkSettings(**options), torch.Generator().manual_seed(2)
    with detect.host().lend() as loan, torch.no_grad():
        made = build(loan, network, 1)
        for part in made.parts:
            for parameter in made.parameters(part):
                scale = size * max(float(parameter.abs().mean()), 0.1)
                parameter += scale * torch.randn(parameter.shape, generator=draw).to(parameter.device)
        lora_file.save(Path(path), made.state_dict(), {"ss_output_name": Path(path).stem})
        plain = _ours(loan)
        adapters = from_tensors(loan, read(Path(path)))
        adapters.attach()
        try:
            hung = _ours(loan)
        finally:
            adapters.detach()
    both = {f"plain.{name}": tensor for name, tensor in plain.items()} | hung
    save_file({name: tensor.float().contiguous() for name, tensor in both.items()}, f"{path}.outputs")
    return {"modules": len(made.layers), "parts": made.parts}


def compare_network(path: str) -> dict:
    """Of the web UI's own modules as they are now: how far they are from ours with the file attached, and without,
    both relative to what the file changes."""
    ours = load_file(f"{path}.outputs")
    found = {}
    for name, tensor in _theirs(ours["plain.text"]).items():
        change = float((ours[name] - ours[f"plain.{name}"]).abs().max())
        found[name] = {
            "change": change / float(ours[f"plain.{name}"].abs().max()),
            "apart": float((tensor.float() - ours[name]).abs().max()) / max(change, 1e-9),
            "from_plain": float((tensor.float() - ours[f"plain.{name}"]).abs().max()) / max(change, 1e-9),
        }
    return found


def _inputs(words: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> tuple[torch.Tensor, ...]:
    """What the U-Net is given: noise, timesteps, and for words numbers [2, *words]."""
    noisy = torch.randn((2, 4, 8, 8), generator=torch.Generator().manual_seed(1))
    text = torch.randn((2, *words), generator=torch.Generator().manual_seed(3))
    return noisy.to(device, dtype), torch.tensor([7, 700], device=device), text.to(device, dtype)


def _ours(loan) -> dict[str, torch.Tensor]:
    """The U-Net is given the same text with and without the network, so that it shows its own change only."""
    dtype = _model.compute_dtype()
    text = loan.family.encode_text(loan, [_TEXT], 75, 1, dtype).context
    unet = loan.unet(*_inputs(text.shape[1:], dtype, loan.device), return_dict=False)[0]
    return {"text": text.cpu(), "unet": unet.cpu()}


def _theirs(like: torch.Tensor) -> dict[str, torch.Tensor]:
    from modules import call_queue, devices

    with call_queue.queue_lock, torch.no_grad():
        unet = _model.parts()["unet"]
        inputs = _inputs(like.shape[1:], _model.compute_dtype(), devices.device)
        with _model.without_gradients():
            answer = unet(*inputs).cpu()
        return {"text": host_conditioning(_TEXT)[0].cpu(), "unet": answer}
