"""What `torch.cuda` says of the pretended card: one, ready, with room, and done with all it was told to do."""

from __future__ import annotations

from collections import Counter

import torch

_GB = 2**30


class _Properties:
    name, major, minor, total_memory, multi_processor_count = "pretended card", 8, 6, 24 * _GB, 80


class _Context(torch.cuda.device):
    """Of a device or a stream."""

    def __init__(self, device=None):
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_) -> None:
        pass


class _Stream:
    device = torch.device("cuda", 0)

    def __init__(self, *_, **__):
        pass

    def synchronize(self) -> None:
        pass

    def wait_stream(self, _) -> None:
        pass


class _Generator(torch.Generator):
    """On the processor, where the numbers are made."""

    def __new__(cls, device="cpu"):
        return torch._C.Generator.__new__(torch._C.Generator, "cpu")


_SILENT = ("_lazy_init", "empty_cache", "ipc_collect", "manual_seed", "manual_seed_all", "reset_peak_memory_stats")
_SILENT += ("set_device", "set_rng_state", "synchronize")
_ANSWERS = {
    "current_device": 0,
    "current_stream": _Stream(),
    "default_stream": _Stream(),
    "device_count": 1,
    "get_allocator_backend": "native",
    "get_device_capability": (_Properties.major, _Properties.minor),
    "get_device_name": _Properties.name,
    "get_device_properties": _Properties(),
    "get_rng_state": torch.zeros(16, dtype=torch.uint8),
    "is_available": True,
    "is_bf16_supported": True,
    "is_initialized": True,
    "max_memory_allocated": 5 * _GB,
    "mem_get_info": (20 * _GB, 24 * _GB),
    "memory_allocated": 4 * _GB,
    "memory_reserved": 5 * _GB,
    "memory_stats": Counter({"active_bytes.all.current": 4 * _GB, "reserved_bytes.all.current": 5 * _GB}),
    "stream": _Context(),
}


def give() -> None:
    """After the libraries are imported: when they see a card, some look for more than can be pretended."""
    from diffusers import AutoencoderKL, UNet2DConditionModel  # noqa: F401
    from transformers import CLIPTextModelWithProjection  # noqa: F401

    for name, answer in {**dict.fromkeys(_SILENT), **_ANSWERS}.items():
        setattr(torch.cuda, name, lambda *_, _answer=answer, **__: _answer)
    torch.cuda.device, torch.cuda.Stream, torch.Generator = _Context, _Stream, _Generator
