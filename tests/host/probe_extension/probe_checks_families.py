"""What tests ask about checkpoints of any family: outputs beside the host's own, and which layers a LoRA reached."""

from __future__ import annotations

import probe_model as _model
import torch

from lib_lora_train.families.loan import Conditioning
from lib_lora_train.hosts import detect

_SIDE = 64  # pixels of the latents compared


def family_outputs(text: str = "a red circle, on blue") -> dict:
    """Largest differences between the host's modules and the borrowed ones, relative to the largest output: the text as
    the host conditions its U-Net on it (for SDXL with pooled vector and sizes), the U-Net, the VAE both ways."""
    draw = torch.Generator().manual_seed(1)
    with detect.host().lend() as loan, torch.no_grad():
        dtype, parts = _model.compute_dtype(), _model.parts()
        ours = loan.family.encode_text(loan, [text], 75, 1, dtype)
        theirs, vector = host_conditioning(text)
        found = {"text": _apart(theirs, ours.context)}
        if vector is not None:
            found["pooled"] = _apart(vector[:, : ours.pooled.shape[1]], ours.pooled)
        noisy = torch.randn((2, 4, _SIDE // 8, _SIDE // 8), generator=draw).to(loan.device, dtype)
        times = torch.tensor([7, 700], device=loan.device)
        sizes = torch.tensor([[_SIDE, _SIDE, 0, 0, _SIDE, _SIDE]] * 2, device=loan.device)
        extra = {} if vector is None else {"y": vector.expand(2, -1).to(dtype)}
        host = parts["unet"](noisy, times, theirs.expand(2, -1, -1).to(dtype), **extra)
        found["unet"] = _apart(host, loan.family.predict(loan, noisy, times, Conditioning.cat([ours, ours]), sizes))
        return {**found, **_vae_outputs(loan, parts["vae"], draw)}


def add_openclip(path: str) -> dict:
    """OpenCLIP knows the model of this configuration by the file's name (A1111 asks it for text encoders)."""
    import open_clip

    open_clip.add_model_config(path)
    return {}


def applied(path: str) -> dict:
    """Of the LoRA drawn with last (A1111): how many of the file's modules reached a layer, and which did not."""
    import networks
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        wanted = {key.split(".")[0] for key in file.keys()}  # noqa: SIM118 no mapping
    (net,) = networks.loaded_networks
    inside = _changed_inside_attention()
    there = (
        module
        for module in net.modules.values()
        if getattr(module.sd_module, "network_current_names", ()) or id(module.sd_module) in inside
    )
    reached = {module.network_key.split(".")[0] for module in there}
    return {"placed": len(reached & wanted), "missing": sorted(wanted - reached)}


def _changed_inside_attention() -> set[int]:
    """OpenCLIP's output projections that differ from what they were: the host notes changes at the whole attention."""
    found = set()
    for module in _model.model().modules():
        kept = getattr(module, "network_weights_backup", None)
        is_attention = isinstance(module, torch.nn.MultiheadAttention) and isinstance(kept, tuple)
        if is_attention and not torch.equal(kept[1].to(module.out_proj.weight.device), module.out_proj.weight):
            found.add(id(module.out_proj))
    return found


def host_conditioning(text: str) -> tuple[torch.Tensor, torch.Tensor | None]:
    from modules.prompt_parser import SdConditioning

    with _model.without_gradients():
        found = _model.model().get_learned_conditioning(SdConditioning([text], width=_SIDE, height=_SIDE))
    if isinstance(found, dict):
        return found["crossattn"].clone(), found["vector"].clone()
    return found.clone(), None


def _vae_outputs(loan, vae, draw: torch.Generator) -> dict:
    dtype = next(vae.parameters()).dtype
    latents = torch.randn((1, 4, 8, 8), generator=draw).to(loan.device, dtype)
    pixels = torch.rand((1, 3, _SIDE, _SIDE), generator=draw).to(loan.device, dtype) * 2 - 1
    moments = vae.quant_conv(vae.encoder(pixels))
    return {
        "vae_decoder": _apart(vae.decode(latents), loan.vae.decode(latents, return_dict=False)[0]),
        "vae_encoder": _apart(moments, loan.vae.encode(pixels, return_dict=False)[0].parameters),
    }


def _apart(one: torch.Tensor, other: torch.Tensor) -> float:
    one, other = one.float(), other.float()
    return float((one - other).abs().max() / one.abs().max())
