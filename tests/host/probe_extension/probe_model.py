"""Where each kind of web UI keeps the parts of its loaded model, and how it computes with them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


def is_forge() -> bool:
    """Forge and Neo, which load their model in inference mode."""
    from modules import sd_models

    return hasattr(sd_models, "forge_model_reload")


def without_gradients() -> Any:
    """A context as the host draws in. (Merged weights are inference tensors in Forge and reForge.)"""
    return torch.inference_mode() if hasattr(model(), "forge_objects_original") else torch.no_grad()


def model() -> Any:
    """What is loaded; Forge loads with its first picture, or now."""
    from modules import call_queue, sd_models, shared

    if is_forge() and not hasattr(sd_models.model_data.sd_model, "forge_objects_original"):
        with call_queue.queue_lock:
            sd_models.forge_model_reload()
    return shared.sd_model  # A1111 waits for a load that is under way


def parts() -> dict[str, nn.Module]:
    """`unet`, `text_encoder` (with all around it) and `vae`."""
    loaded = model()
    if not hasattr(loaded, "forge_objects_original"):
        names = {"unet": loaded.model.diffusion_model, "text_encoder": loaded.cond_stage_model}
        return {**names, "vae": loaded.first_stage_model}
    objects = loaded.forge_objects_original
    names = {"unet": objects.unet.model.diffusion_model, "text_encoder": objects.clip.cond_stage_model}
    return {**names, "vae": objects.vae.first_stage_model}


def is_noise(key: str) -> bool:
    """Neo gives every CLIP a projection; SD1's checkpoints have none for it, so it holds whatever was in memory."""
    engine = getattr(model(), "text_processing_engine", None)
    return key.endswith("text_projection.weight") and getattr(engine, "text_projection", True) is False


def settle() -> None:
    """Forge's first prompt after a load turns CLIP's embeddings to fp32, for good; weights are comparable then."""
    from modules import call_queue

    if is_forge():
        loaded = model()
        with call_queue.queue_lock:
            loaded.get_learned_conditioning(["anything"])


def addresses() -> list[int]:
    """Where the parameters lie."""
    return [parameter.data_ptr() for part in parts().values() for parameter in part.parameters()]


def foreign(loan: Any) -> int:
    """How many borrowed tensors do not lie in a storage of the host's."""
    own = {parameter.untyped_storage().data_ptr() for part in parts().values() for parameter in part.parameters()}
    modules = (loan.unet, *loan.text_encoders, loan.vae)
    return sum(p.untyped_storage().data_ptr() not in own for module in modules for p in module.parameters())


def compute_dtype() -> torch.dtype:
    """In which the host draws."""
    if not hasattr(model(), "forge_objects_original"):
        return next(parts()["unet"].parameters()).dtype
    unet = model().forge_objects_original.unet.model
    return unet.computation_dtype if is_forge() else unet.manual_cast_dtype or unet.get_dtype()


def encoded(text: str) -> Tensor:
    """[1, 77, C] from the host's text encoder."""
    from modules import devices

    embedder = model().text_processing_engine if is_forge() else model().cond_stage_model
    chunks, _ = embedder.tokenize_line(text)
    tokens = torch.tensor([chunks[0].tokens]).to(devices.device)
    with without_gradients():
        return embedder.encode_with_transformers(tokens).clone()


@contextmanager
def clip_skip(value: int) -> Iterator[None]:
    from modules import shared

    before = shared.opts.CLIP_stop_at_last_layers
    _set_clip_skip(value)
    try:
        yield
    finally:
        _set_clip_skip(before)


def merged() -> list[str]:
    """Names of the LoRAs that are merged into the weights now."""
    if not hasattr(model(), "forge_objects_original"):
        names = {name for module in model().modules() for name in getattr(module, "network_current_names", ())}
        return sorted(str(name[0]) for name in names)
    objects = model().forge_objects_original
    patchers = [objects.unet, objects.clip.patcher]
    holders = [getattr(patcher, "lora_loader", patcher) for patcher in patchers]  # Neo and reForge: the patcher itself
    if not any(holder.backup for holder in holders):
        return []
    marks = [getattr(holder, "loaded_hash", model().current_lora_hash) for holder in holders]
    return sorted({Path(entry[0]).stem for mark in marks for entry in ast.literal_eval(mark or "[]")}) or ["?"]


def _set_clip_skip(value: int) -> None:
    from modules import shared

    shared.opts.data["CLIP_stop_at_last_layers"] = value
    if is_forge():
        model().set_clip_skip(value)
