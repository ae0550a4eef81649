"""Where Forge's and reForge's tensors are: moved to the device by their own memory management, and refused when they
are quantised."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

import torch
from torch import nn

from ...errors import HostError
from ...families.assign import is_plain
from ...families.borrow import Source, check
from ...families.keys_clip import PROJECTION
from ..webui import tensors

REMEDY = "Set Diffusion in Low Bits to Automatic, and load the checkpoint's fp16 file."
_FOUR_BITS = ("nf4", "fp4")  # as `Diffusion in Low Bits` has them
_TEXTS = ("clip_l", "clip_g", "clip_h")  # in the order of the conditioning


def source(model: Any) -> tuple[Source, bool]:
    """The model's own tensors on the device; True: some are copies, since Forge had no room for all of them there."""
    objects = model.forge_objects_original
    unet, vae, holders = objects.unet.model.diffusion_model, objects.vae.first_stage_model, _text_holders(objects)
    texts = [holder.transformer for holder in holders]
    found = Source(
        unet=tensors.of(unet),
        text_encoders=[_text_tensors(holder, ends_early(model)) for holder in holders],
        vae=tensors.of(vae),
        heads=tensors.heads(unet),
        text_heads=[text.config.num_attention_heads for text in texts],
        text_activations=[text.config.hidden_act for text in texts],
    )
    return found, tensors.are_elsewhere([unet, vae, *texts])


def to_device(model: Any) -> None:
    """All of the model, without patches, as far as Forge finds room; other models make way."""
    objects = model.forge_objects_original
    with torch.inference_mode():
        _memory_management().load_models_gpu([objects.unet, objects.clip.patcher, objects.vae.patcher])


def tokenizers(model: Any) -> list[Any]:
    """The Hugging Face tokenizers of the text encoders that `source` gives."""
    clip = model.forge_objects_original.clip
    return [getattr(clip.tokenizer, name) for name in _TEXTS if hasattr(clip.cond_stage_model, name)]


def family(model: Any, remedy: str = REMEDY) -> str:
    """Its name. Raises HostError when it cannot be trained or its weights are not stored as they are; `remedy` is for
    the latter."""
    objects = model.forge_objects_original
    name = check(tensors.shapes(objects.unet.model.diffusion_model))
    named = {"U-Net": objects.unet.model, "VAE": objects.vae.first_stage_model}
    named |= {f"text encoder {i}": holder.transformer for i, holder in enumerate(_text_holders(objects), 1)}
    for what, part in named.items():
        format_ = _quantised(part)
        if format_:
            raise _refusal(what, format_, remedy)
    return name


def check_choice(storage: object) -> None:
    """Of a U-Net that Forge will load next. Raises HostError as `family` will: without bitsandbytes Forge itself
    takes no notice of that choice."""
    if storage in _FOUR_BITS and importlib.util.find_spec("bitsandbytes"):
        raise _refusal("U-Net", str(storage), REMEDY)


def _refusal(what: str, format_: str, remedy: str) -> HostError:
    return HostError(f"The {what} is stored in {format_}, from which nothing exact can be borrowed.", remedy)


def precision(model: Any) -> str:
    objects = model.forge_objects_original
    return tensors.precision(objects.unet.model.diffusion_model, objects.vae.first_stage_model)


def _text_holders(objects: Any) -> list[Any]:
    """What holds a Hugging Face text model as `transformer`, one per text encoder."""
    found = objects.clip.cond_stage_model
    return [getattr(found, name) for name in _TEXTS if hasattr(found, name)]


def ends_early(model: Any) -> bool:
    """Does the text encoder have a last layer that is never used, as SD2's in reForge?"""
    holder = getattr(model.forge_objects_original.clip.cond_stage_model, "clip_h", None)
    return getattr(holder, "layer_idx", None) is not None


def _text_tensors(holder: Any, short: bool) -> dict[str, torch.Tensor]:
    """By Hugging Face's keys, if `short` without the last layer; reForge keeps the projection of the pooled output
    beside the model, turned."""
    found = tensors.of(holder.transformer)
    if short:
        last = f".layers.{holder.transformer.config.num_hidden_layers - 1}."
        found = {key: tensor for key, tensor in found.items() if last not in key}
    projection = getattr(holder, "text_projection", None)
    if PROJECTION not in found and isinstance(projection, nn.Parameter):
        found[PROJECTION] = projection.detach().to(tensors.device()).T
    return found


def _memory_management() -> ModuleType:
    """In reForge it is where ComfyUI's was."""
    name = "backend.memory_management"
    return importlib.import_module(name if name in sys.modules else "ldm_patched.modules.model_management")


def _quantised(part: nn.Module) -> str:
    """The name of its storage format, "" for plain tensors."""
    if any(name.endswith(".scale_weight") for name, _ in part.named_parameters()):
        return "scaled fp8"
    odd = next((parameter for parameter in part.parameters() if not is_plain(parameter)), None)
    if odd is None:
        return ""
    stored = getattr(part, "storage_dtype", None)
    return stored if isinstance(stored, str) else type(odd).__name__.removeprefix("Parameter")
