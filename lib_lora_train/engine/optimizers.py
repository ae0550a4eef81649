"""The optimisers by table: what they import, their defaults here, what they refuse, what stands in for them."""

from __future__ import annotations

import ast
import difflib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ..errors import SettingsError
from ..settings.schema import OptimizerSettings

ADAPTIVE_RATE = "Adaptive optimisers take one rate: set the master rate to 1 and the other rates to 0 (master)."


def _adamw() -> type[torch.optim.Optimizer]:
    return torch.optim.AdamW


def _adamw8bit() -> type[torch.optim.Optimizer]:
    from bitsandbytes.optim import AdamW8bit

    return AdamW8bit


def _prodigy() -> type[torch.optim.Optimizer]:
    from prodigyopt import Prodigy

    return Prodigy


@dataclass(frozen=True)
class Kind:
    """`load` imports late and gives the class. `substitute` is used, with a warning, where the kind cannot run."""

    load: Callable[[], type[torch.optim.Optimizer]]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    one_rate: bool = False
    substitute: str = ""


KINDS: dict[str, Kind] = {
    "AdamW": Kind(_adamw),
    "AdamW8bit": Kind(_adamw8bit, substitute="AdamW"),
    "Prodigy": Kind(
        _prodigy,
        {
            "decouple": True,
            "weight_decay": 0.01,
            "d_coef": 2,
            "use_bias_correction": True,
            "safeguard_warmup": False,
            "betas": (0.9, 0.99),
        },
        one_rate=True,
    ),
}


@dataclass(frozen=True)
class Group:
    """Parameters that share a rate. `name` is the part: text_encoder or unet."""

    name: str
    parameters: Sequence[nn.Parameter]
    rate: float


@dataclass
class Built:
    """An optimiser and how it came about: `kind` as used, `args` as handed over, `notes` for the user."""

    optimizer: torch.optim.Optimizer
    kind: str
    args: dict[str, Any]
    groups: list[Group]
    notes: list[str]

    def set_rates(self, factor: float) -> None:
        """Every group's own rate times `factor`."""
        for group, values in zip(self.groups, self.optimizer.param_groups, strict=True):
            values["lr"] = group.rate * factor

    @property
    def rates(self) -> dict[str, float]:
        """The rates in force by group name; with adaptive optimisers times the step size they found (`d`)."""
        pairs = zip(self.groups, self.optimizer.param_groups, strict=True)
        return {group.name: float(values["lr"] * values.get("d", 1.0)) for group, values in pairs}


    @property
    def described(self) -> str:
        """As sd-scripts writes it to `ss_optimizer`."""
        cls = type(self.optimizer)
        args = ",".join(f"{name}={value}" for name, value in self.args.items())
        return f"{cls.__module__}.{cls.__qualname__}" + (f"({args})" if args else "")


def build(settings: OptimizerSettings, parts: Mapping[str, Sequence[nn.Parameter]], device: torch.device) -> Built:
    """An optimiser over `parts` (part name to parameters), text encoder first as in sd-scripts.

    Raises SettingsError: an unknown or impossible argument, no rate above 0, two rates with a kind that takes one,
    or a package that is missing and has no substitute.
    """
    groups, notes = _groups(settings, parts)
    name = settings.optimizer_type
    problem = problem_on(name, device)
    if problem and not KINDS[name].substitute:
        raise SettingsError(problem, "Install it, or choose AdamW.", "optimizer_type")
    if problem:
        notes.append(f"{problem} {KINDS[name].substitute} is used instead: the same training, more memory.")
        name = KINDS[name].substitute
    kind = KINDS[name]
    if kind.one_rate and len({g.rate for g in groups}) > 1:
        raise SettingsError(f"{name} cannot train parts at different rates.", ADAPTIVE_RATE, "text_encoder_lr")
    args = {**kind.defaults, **parse_args(settings.optimizer_args, kind.load())}
    return Built(_construct(kind.load(), groups, args), name, args, groups, notes)


def rates(settings: OptimizerSettings) -> dict[str, float]:
    """Rate by part; 0 in a part's own field means the master rate."""
    master = settings.learning_rate
    return {"text_encoder": settings.text_encoder_lr or master, "unet": settings.unet_lr or master}


def _groups(
    settings: OptimizerSettings, parts: Mapping[str, Sequence[nn.Parameter]]
) -> tuple[list[Group], list[str]]:
    wanted = rates(settings)
    groups = [Group(name, list(parts[name]), wanted[name]) for name in wanted if parts.get(name)]
    used, idle = [g for g in groups if g.rate > 0], [g for g in groups if g.rate <= 0]
    if not used:
        raise SettingsError("No part has a learning rate above 0, so nothing would be learnt.", "", "learning_rate")
    for parameter in (parameter for group in idle for parameter in group.parameters):
        parameter.requires_grad_(False)  # no gradients for nothing
    return used, [f"The rate of {g.name} is 0: it does not learn." for g in idle]


def _construct(
    cls: type[torch.optim.Optimizer], groups: Iterable[Group], args: Mapping[str, Any]
) -> torch.optim.Optimizer:
    values = [{"params": group.parameters, "lr": group.rate} for group in groups]
    try:
        return cls(values, lr=max(v["lr"] for v in values), **args)
    except (TypeError, ValueError, IndexError) as error:
        raise SettingsError(
            f"{cls.__name__} refuses its arguments: {error}.", "See the examples at the field.", "optimizer_args"
        ) from error


def parse_args(text: str, cls: type[torch.optim.Optimizer]) -> dict[str, Any]:
    """`weight_decay=0.01 betas=0.9,0.99` as literals (never evaluated). Raises SettingsError on anything else."""
    allowed = set(inspect.signature(cls).parameters) - {"params", "lr"}
    args: dict[str, Any] = {}
    for item in re.split(r"\s+(?=\w+\s*=)", text.strip()) if text.strip() else []:
        name, equals, value = (part.strip() for part in item.partition("="))
        if not equals or not name:
            raise SettingsError(f"`{item}` is no `name=value`.", "Write pairs separated by spaces.", "optimizer_args")
        if name not in allowed:
            raise _unknown(name, allowed, cls.__name__)
        args[name] = _literal(name, value)
    return args


def _unknown(name: str, allowed: Iterable[str], kind: str) -> SettingsError:
    near = difflib.get_close_matches(name, sorted(allowed), n=1, cutoff=0.5)
    remedy = f"Did you mean `{near[0]}`?" if near else f"It takes {', '.join(sorted(allowed))}."
    if name == "lr":
        remedy = "The rate has fields of its own."
    return SettingsError(f"{kind} has no argument `{name}`.", remedy, "optimizer_args")


def _literal(name: str, value: str) -> Any:
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise SettingsError(
            f"`{name}={value}` is not a number, True, False or a list of numbers.", "", "optimizer_args"
        ) from error


def problem_on(name: str, device: torch.device) -> str:
    """Why this optimiser cannot run on `device`, "" when it can: it is imported, and takes one step on a toy."""
    try:
        cls = KINDS[name].load()
        _try_out(cls, device)
    except ImportError as error:
        return f"{name} needs the package {error.name or error}, which is not installed."
    except (OSError, RuntimeError, AttributeError, NameError, NotImplementedError, TypeError) as error:
        return f"{name} does not run on this device ({_first_line(error)})."
    return ""


def _try_out(cls: type[torch.optim.Optimizer], device: torch.device) -> None:
    """4096 numbers are the fewest that bitsandbytes keeps in 8 bits."""
    toy = nn.Parameter(torch.zeros(4096, device=device))
    toy.grad = torch.ones_like(toy)
    cls([toy], lr=1.0).step()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
