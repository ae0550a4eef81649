"""What tests do to a running Forge beyond its API."""

from __future__ import annotations

import probe_checks_worker as _worker
import probe_model as _model
import torch

from lib_lora_train.hosts import detect


def page_opened() -> dict:
    """The browser's page sends its memory settings when it loads; the next picture then begins by unloading all."""
    from backend import memory_management
    from modules import call_queue

    with call_queue.queue_lock, torch.inference_mode():
        memory_management.unload_all_models()
    return {}


def page_opened_next() -> dict:
    """As `page_opened`, but the next picture does it."""
    from modules import processing

    processing.need_global_unload = True
    return {}


def store_unet(dtype: str) -> dict:
    """As `Diffusion in Low Bits` or the flags do: the U-Net is loaded anew in `dtype`, "" for Forge's own choice.

    A name that torch does not know ("nf4", "fp4") is one of bitsandbytes'."""
    from modules import sd_models

    data = sd_models.model_data
    data.forge_loading_parameters = {
        **data.forge_loading_parameters,
        "unet_storage_dtype": getattr(torch, dtype, dtype) if dtype else None,
    }
    return {}


def additional_modules(paths: list[str]) -> dict:
    """As the page's list `VAE / Text Encoder`."""
    from modules import shared
    from modules_forge import main_entry

    shared.opts.set("forge_additional_modules", paths)
    main_entry.refresh_model_loading_parameters()
    return {}


def quantise_a_layer(path: str) -> dict:
    """As after loading a GGUF file, for one layer of the U-Net: Forge's own class, from a file that `path` will be."""
    import gguf
    from backend.utils import load_torch_file

    unet = _model.parts()["unet"]
    name = next(key for key, parameter in unet.named_parameters() if key.endswith("attn1.to_q.weight"))
    raw = unet.get_parameter(name).detach().cpu().float().numpy()
    writer = gguf.GGUFWriter(path, "sd1")
    packed = gguf.quants.quantize(raw, gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor(name, packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    unet.get_submodule(name.removesuffix(".weight")).weight = load_torch_file(path)[name]
    _model.model().forge_objects_original.unet.model.storage_dtype = "gguf"
    return {}


def load_again() -> dict:
    """The chosen checkpoint from its file."""
    from modules import call_queue, sd_models

    sd_models.model_data.forge_hash = ""
    with call_queue.queue_lock:
        sd_models.forge_model_reload()
    return {}


def mapped(path: str) -> dict:
    """Is the file part of this process's memory? (Linux)"""
    import gc

    gc.collect()
    with open("/proc/self/maps") as maps:
        return {"mapped": path in maps.read()}


def release(name: str) -> dict:
    """The file `<LoRA folder>/<name>.safetensors` is about to be replaced."""
    host = detect.host()
    host.release(host.lora_dir() / f"{name}.safetensors")
    return {}


def worker_borrowed() -> dict:
    """How many tensors with data the worker's loan has now."""
    loan = _worker._workers[-1].loan
    modules = (loan.unet, *loan.text_encoders, loan.vae)
    return {"tensors": sum(not p.is_meta for module in modules for p in module.parameters())}
