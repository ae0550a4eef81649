"""What the head line shows of any kind of web UI: read from its memory, in milliseconds."""

from __future__ import annotations

import torch

from . import tensors

OWN_JOB = "train-lora"  # how our pictures are named in the host's progress
_GB = 1e9


def is_drawing() -> bool:
    """Somebody else's picture."""
    from modules import shared

    return bool(shared.state.job) and shared.state.job != OWN_JOB


def memory() -> tuple[float, float]:
    """(used, total) in GB of the device the host computes on."""
    device = tensors.device()
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return (total - free) / _GB, total / _GB
    import psutil  # the host has it

    memory = psutil.virtual_memory()
    return (memory.total - memory.available) / _GB, memory.total / _GB


def on_card() -> bool:
    """Whether the host computes on the card that `memory` is about."""
    return tensors.device().type == "cuda"


def clip_skip() -> int:
    """As the host is set, 1 for the last layer."""
    from modules import shared

    return max(1, int(shared.opts.CLIP_stop_at_last_layers))


def wants_zero_snr() -> bool:
    """Is the host set to draw with a schedule rescaled to zero terminal SNR?"""
    from modules import shared

    return getattr(shared.opts, "sd_noise_schedule", "Default") == "Zero Terminal SNR"


def version() -> str:
    """As the host's git says, without the v."""
    from modules import launch_utils

    return launch_utils.git_tag().removeprefix("v")
