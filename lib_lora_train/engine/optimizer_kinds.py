"""The optimisers by table: where their class is, their arguments here, what they cost and what stands in for them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import torch
from torch import nn

_PRODIGY = {
    "decouple": True,
    "weight_decay": 0.01,
    "d_coef": 2,
    "use_bias_correction": True,
    "safeguard_warmup": False,
    "betas": (0.9, 0.99),
}
_DADAPT_ADAM = {"decouple": True, "weight_decay": 0.01, "betas": (0.9, 0.99)}
_ADAFACTOR = {"relative_step": True, "scale_parameter": True, "warmup_init": True}
_NESTEROV = {"momentum": 0.9, "nesterov": True}


@dataclass(frozen=True)
class Kind:
    """`cls` is `module:Class`, imported late. `state_bytes` per parameter. `defaults` are the guides' arguments.

    `one_rate`: all parts must have the same. `substitute` is used, with a warning, where the kind cannot run;
    `package` is what pip calls what is missing.
    """

    cls: str
    state_bytes: float
    defaults: Mapping[str, Any] = field(default_factory=dict)
    one_rate: bool = False
    substitute: str = ""
    package: str = ""

    def load(self) -> type[torch.optim.Optimizer]:
        """Raises ImportError where its package is missing or broken."""
        module, _, name = self.cls.partition(":")
        return getattr(import_module(module), name)


KINDS: dict[str, Kind] = {
    "AdamW": Kind("torch.optim:AdamW", 8),
    "AdamW8bit": Kind("bitsandbytes.optim:AdamW8bit", 2, substitute="AdamW", package="bitsandbytes"),
    "PagedAdamW8bit": Kind("bitsandbytes.optim:PagedAdamW8bit", 2, substitute="AdamW", package="bitsandbytes"),
    "Prodigy": Kind("prodigyopt:Prodigy", 16, _PRODIGY, one_rate=True, package="prodigyopt"),
    "DAdaptAdam": Kind("dadaptation:DAdaptAdam", 12, _DADAPT_ADAM, one_rate=True, package="dadaptation"),
    "DAdaptLion": Kind("dadaptation:DAdaptLion", 8, one_rate=True, package="dadaptation"),
    "AdaFactor": Kind("transformers.optimization:Adafactor", 1, _ADAFACTOR),
    "AdamWScheduleFree": Kind("schedulefree:AdamWScheduleFree", 8, {"weight_decay": 0.01}, package="schedulefree"),
    "CAME": Kind("came_pytorch:CAME", 6, {"weight_decay": 0.01}, package="came-pytorch"),
    "Lion": Kind("lion_pytorch:Lion", 4, package="lion-pytorch"),
    "Lion8bit": Kind("bitsandbytes.optim:Lion8bit", 1, substitute="Lion", package="bitsandbytes"),
    "SGDNesterov": Kind("torch.optim:SGD", 4, _NESTEROV),
    "SGDNesterov8bit": Kind(
        "bitsandbytes.optim:SGD8bit", 1, _NESTEROV, substitute="SGDNesterov", package="bitsandbytes"
    ),
}


def drives_itself(args: Mapping[str, Any]) -> bool:
    """Adafactor with relative steps makes its own schedule and takes no rate, as in its paper (arXiv 1804.04235)."""
    return bool(args.get("relative_step", False))


def rate_argument(rate: float, args: Mapping[str, Any]) -> float | None:
    """What the constructor gets as `lr`."""
    return None if drives_itself(args) else rate


def problem_on(name: str, device: torch.device) -> str:
    """Why this optimiser cannot run on `device`, "" when it can: it is imported, and takes one step on a toy."""
    try:
        take_step(KINDS[name].load(), KINDS[name].defaults, device)
    except ImportError as error:
        return f"{name} needs the package {KINDS[name].package or error.name or error}, which is not installed."
    except (OSError, RuntimeError, AttributeError, NameError, NotImplementedError, TypeError) as error:
        return f"{name} does not run on this device ({first_line(error)})."
    return ""


def remedy_for(name: str) -> str:
    """How to install what is missing, as a command to copy."""
    if not KINDS[name].package:
        return "Choose AdamW."
    return f'Run "{sys.executable}" -m pip install {KINDS[name].package} and restart, or choose AdamW.'


def take_step(cls: type[torch.optim.Optimizer], args: Mapping[str, Any], device: torch.device) -> None:
    """One step of a toy. 4096 numbers are the fewest that bitsandbytes keeps in 8 bits."""
    toy = nn.Parameter(torch.zeros(64, 64, device=device))
    toy.grad = torch.ones_like(toy)
    optimizer = cls([toy], lr=rate_argument(1.0, args), **args)
    if hasattr(optimizer, "train"):
        optimizer.train()
    optimizer.step()


def first_line(error: Exception) -> str:
    """What an error says, short; its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
