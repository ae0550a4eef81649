"""In which dtype a run computes, and the loss scaling that float16 needs. Adapters are float32 whatever is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from ..errors import SettingsError

DTYPES = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_AUTO = {"cpu": "no", "mps": "no", "xpu": "bf16"}  # other devices: by what the card can


def resolve(wanted: str, device: torch.device) -> str:
    """no, fp16 or bf16: what `auto` means on `device`. Raises SettingsError for what the device cannot compute."""
    if wanted == "auto":
        return _AUTO.get(device.type) or ("bf16" if _card_has_bf16(device) else "fp16")
    if not _computes(DTYPES[wanted], device):
        raise SettingsError(
            f"This device ({device.type}) cannot compute in {wanted}.", "Set Precision to auto.", "mixed_precision"
        )
    return wanted


def _card_has_bf16(device: torch.device) -> bool:
    """Natively: older cards only emulate it, slowly. Every card that ROCm supports for training has it."""
    return bool(torch.version.hip) or torch.cuda.get_device_capability(device)[0] >= 8


def _computes(dtype: torch.dtype, device: torch.device) -> bool:
    """Some CPU builds of torch lack half-precision kernels."""
    x = torch.zeros(1, 8, 8, 8, dtype=dtype, device=device, requires_grad=True)
    kernel = torch.zeros(8, 8, 3, 3, dtype=dtype, device=device)
    try:
        F.linear(F.group_norm(F.conv2d(x, kernel), 4), kernel[:6, :6, 0, 0]).sum().backward()
    except RuntimeError:
        return False
    return True


@dataclass
class LossScaler:
    """Keeps float16 gradients from vanishing: the loss is multiplied by `scale`, the gradients are divided by it.

    Halved when gradients overflow, doubled after `interval` steps without that. "Mixed Precision Training", section
    3.2 (arXiv 1710.03740). Works on every device; with scale 1 and interval 0 it does nothing.
    """

    scale: float = 1.0
    interval: int = 0
    clean: int = 0

    @classmethod
    def for_precision(cls, precision: str) -> LossScaler:
        return cls(65536.0, 1000) if precision == "fp16" else cls()

    @property
    def can_back_off(self) -> bool:
        return self.interval > 0 and self.scale > 1.0

    def back_off(self) -> None:
        self.scale, self.clean = max(1.0, self.scale / 2), 0

    def went_well(self) -> None:
        self.clean += 1
        if self.interval and self.clean >= self.interval:
            self.scale, self.clean = min(self.scale * 2, 2.0**24), 0

    def state(self) -> dict[str, Any]:
        return {"scale": self.scale, "clean": self.clean}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.scale, self.clean = state["scale"], state["clean"]
