"""What tests ask about the inside of a running web UI; each public function is a check (see scripts/probe.py)."""

from __future__ import annotations

import hashlib
from pathlib import Path

import probe_model as _model
import torch

from lib_lora_train.hosts import detect


def weights() -> dict:
    """sha256 over every tensor of the loaded checkpoint, and of each of its three parts."""
    _model.settle()
    sums = {name: hashlib.sha256() for name in ("all", *_model.parts())}
    for name, part in _model.parts().items():
        for key, tensor in part.state_dict().items():
            if _model.is_noise(key):
                continue
            raw = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
            for digest in (sums["all"], sums[name]):
                digest.update(key.encode() + raw)
    return {name: digest.hexdigest() for name, digest in sums.items()}


def status() -> dict:
    from dataclasses import asdict

    return asdict(detect.host().status())


def lend() -> dict:
    """What a loan says about itself."""
    with detect.host().lend() as loan:
        return {
            "prediction": loan.prediction,
            "zero_terminal_snr": loan.zero_terminal_snr,
            "last_alpha": float(loan.alphas_cumprod[-1]),
            "vae_scale": loan.vae_scale,
            "clip_skip": loan.clip_skip,
            "title": loan.identity.title,
            "path": loan.identity.path,
            "sha256": loan.identity.sha256,
            "vae": loan.identity.vae,
            "family": loan.family.name,
            "dtype": str(loan.weights_dtype),
            "notes": loan.notes,
            "foreign_storages": _model.foreign(loan),
            "tensors": [len(list(module.parameters())) for module in (loan.unet, *loan.text_encoders, loan.vae)],
        }


def lend_error() -> dict:
    """The refusal to lend, and whether the lock is free after it."""
    from modules import call_queue

    try:
        with detect.host().lend():
            return {"error": "", "free": False}
    except Exception as error:  # noqa: BLE001 its kind is the answer
        return {"error": str(error), "kind": type(error).__name__, "free": not call_queue.queue_lock._lock.locked()}


def same_outputs(clip_skip: int = 1) -> dict:
    """Largest differences between the host's own modules and the borrowed ones, relative to the largest output."""
    draw = torch.Generator().manual_seed(1)
    with detect.host().lend() as loan, torch.no_grad(), _model.clip_skip(clip_skip):
        parts, dtype = _model.parts(), _model.compute_dtype()
        unet, vae = parts["unet"], parts["vae"]
        context = loan.family.encode_text(loan, ["a red circle, on blue"], 75, clip_skip, dtype).context
        theirs = _model.encoded("a red circle, on blue")
        noisy = torch.randn((2, 4, 16, 16), generator=draw).to(loan.device, dtype)
        times = torch.tensor([7, 700], device=loan.device)
        both = context.expand(2, -1, -1)
        latents = torch.randn((1, 4, 8, 8), generator=draw).to(loan.device, _dtype(vae))
        pixels = torch.rand((1, 3, 64, 64), generator=draw).to(loan.device, _dtype(vae)) * 2 - 1
        return {
            "text_encoder": _apart(theirs, context),
            "unet": _apart(unet(noisy, times, both), loan.unet(noisy, times, both, return_dict=False)[0]),
            "vae_decoder": _apart(vae.decode(latents), loan.vae.decode(latents, return_dict=False)[0]),
            "vae_encoder": _apart(
                vae.quant_conv(vae.encoder(pixels)), loan.vae.encode(pixels, return_dict=False)[0].parameters
            ),
        }


def train_a_little(fail_in: str = "") -> dict:
    """Forward and backward through all parts, then perhaps an exception; the loan must not touch a weight."""
    try:
        with detect.host().lend() as loan:
            if fail_in == "borrow":
                raise RuntimeError("injected")
            pixels = torch.zeros((1, 3, 64, 64)).to(loan.device, loan.vae.dtype)
            latents = loan.vae.encode(pixels, return_dict=False)[0].mode().float() * loan.vae_scale
            if fail_in == "vae":
                raise RuntimeError("injected")
            extra = torch.zeros_like(latents, requires_grad=True)
            conditioning = loan.family.encode_text(loan, ["a house"], 75, 1)
            sizes, times = (torch.tensor(each, device=loan.device) for each in ([[64, 64, 0, 0, 64, 64]], [500]))
            output = loan.family.predict(loan, latents + extra, times, conditioning, sizes)
            if fail_in == "forward":
                raise RuntimeError("injected")
            output.square().mean().backward()
            if fail_in == "backward":
                raise RuntimeError("injected")
            return {"gradient": float(extra.grad.norm())}
    except RuntimeError as error:
        return {"error": str(error)}


def read_merged() -> dict:
    """Names of the LoRAs that are merged into the weights now."""
    return {"merged": _model.merged()}


def _dtype(module) -> torch.dtype:
    return next(module.parameters()).dtype


def _apart(one: torch.Tensor, other: torch.Tensor) -> float:
    one, other = one.float(), other.float()
    return float((one - other).abs().max() / one.abs().max())


def default_config(path: str) -> dict:
    """Checkpoints without a `.yaml` get this one; two such are loaded over each other, into the same tensors."""
    from modules import sd_models_config

    sd_models_config.config_default = path
    return {"addresses": _model.addresses()}


def addresses() -> dict:
    """Where the loaded model's tensors lie."""
    return {"addresses": _model.addresses()}


def publish(name: str) -> dict:
    """The file `<LoRA folder>/<name>.safetensors` was written or replaced."""
    host = detect.host()
    host.publish(host.lora_dir() / f"{name}.safetensors")
    return {}


def folders() -> dict:
    host = detect.host()
    return {"lora": str(host.lora_dir()), "data": str(host.data_dir())}


def allowed(path: str) -> dict:
    return {"allowed": detect.host().allowed_folder(Path(path))}


def versions() -> dict:
    import sys
    from importlib.util import find_spec

    return {
        "torch": torch.__version__,
        "python": sys.version.split()[0],
        "bitsandbytes": find_spec("bitsandbytes") is not None,
    }
