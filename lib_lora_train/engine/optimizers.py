"""Building an optimiser: groups and rates, its arguments, what it refuses; its rates and weights while it runs."""

from __future__ import annotations

import ast
import difflib
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..adapters.adapter_set import Portion
from ..errors import SettingsError
from ..settings.schema import OptimizerSettings
from .optimizer_kinds import KINDS, drives_itself, first_line, problem_on, rate_argument, remedy_for, take_step

ADAPTIVE_RATE = "Adaptive optimisers take one rate: set the master rate to 1 and the other rates to 0 (master)."


Portions = Mapping[str, Sequence[nn.Parameter]] | Sequence[Portion]


@dataclass(frozen=True)
class Group:
    """Parameters that share a rate. `name` is the part, text_encoder or unet, or a portion of it."""

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
        """Every group's own rate times `factor`; nothing where the optimiser has a schedule of its own."""
        if drives_itself(self.args):
            return
        for group, values in zip(self.groups, self.optimizer.param_groups, strict=True):
            values["lr"] = group.rate * factor

    @property
    def rates(self) -> dict[str, float]:
        """The rates in force by group name; with adaptive optimisers times the step size they found (`d`)."""
        pairs = zip(self.groups, self.optimizer.param_groups, strict=True)
        return {group.name: self._rate(values) for group, values in pairs}

    def _rate(self, values: Mapping[str, Any]) -> float:
        if not drives_itself(self.args):
            return float(values["lr"] * values.get("d", 1.0))
        state = self.optimizer.state.get(values["params"][0])
        return float(self.optimizer._get_lr(values, state)) if state else 0.0

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside the block the parameters are what should be saved and drawn with: their average with schedule-free
        optimisers, themselves with others. Afterwards they are bit for bit as before."""
        if not hasattr(self.optimizer, "eval"):
            yield
            return
        parameters = [parameter for group in self.groups for parameter in group.parameters]
        before = [parameter.detach().clone() for parameter in parameters]
        self.optimizer.eval()
        try:
            yield
        finally:
            self.optimizer.train()
            with torch.no_grad():
                for parameter, value in zip(parameters, before, strict=True):
                    parameter.copy_(value)

    @property
    def described(self) -> str:
        """As sd-scripts writes it to `ss_optimizer`."""
        cls = type(self.optimizer)
        args = ",".join(f"{name}={value}" for name, value in self.args.items())
        return f"{cls.__module__}.{cls.__qualname__}" + (f"({args})" if args else "")


def build(settings: OptimizerSettings, portions: Portions, device: torch.device, scale: float = 1.0) -> Built:
    """An optimiser over `portions`, or whole parts (name to parameters), text encoder first as in sd-scripts.
    All rates are multiplied by `scale`.

    Raises SettingsError: an unknown or impossible argument, no rate above 0, two rates with a kind that takes one,
    or a package that is missing and has no substitute.
    """
    groups, notes = _groups(settings, portions, scale)
    name, args = chosen(settings, device, notes)
    if KINDS[name].one_rate and len({g.rate for g in groups}) > 1:
        raise SettingsError(f"{name} cannot train parts at different rates.", ADAPTIVE_RATE, "text_encoder_lr")
    if drives_itself(args):
        notes.append(f"{name} with relative_step=True sets its rates by itself: rates and scheduler are not used.")
    return Built(_construct(KINDS[name].load(), groups, args), name, args, groups, notes)


def chosen(settings: OptimizerSettings, device: torch.device, notes: list[str]) -> tuple[str, dict[str, Any]]:
    """The kind that will run and its arguments, tried on a toy; `notes` is added to. Needs no network, so that bad
    arguments are refused before a run: many kinds read theirs only when they step. Raises SettingsError."""
    name = _runnable(settings.optimizer_type, device, notes)
    kind = KINDS[name]
    args = {**kind.defaults, **parse_args(settings.optimizer_args, kind.load())}
    with _refusing(kind.load()):
        take_step(kind.load(), args, device)
    return name, args


def _runnable(name: str, device: torch.device, notes: list[str]) -> str:
    """The kind itself, or what stands in for it where it cannot run."""
    problem = problem_on(name, device)
    if not problem:
        return name
    other = KINDS[name].substitute
    if not other:
        raise SettingsError(problem, remedy_for(name), "optimizer_type")
    notes.append(f"{problem} {other} is used instead: the same training, more memory.")
    return _runnable(other, device, notes)


def rates(settings: OptimizerSettings) -> dict[str, float]:
    """Rate by part; 0 in a part's own field means the master rate."""
    master = settings.learning_rate
    return {"text_encoder": settings.text_encoder_lr or master, "unet": settings.unet_lr or master}


def _groups(settings: OptimizerSettings, portions: Portions, scale: float) -> tuple[list[Group], list[str]]:
    wanted = {part: rate * scale for part, rate in rates(settings).items()}
    if isinstance(portions, Mapping):
        portions = [Portion(name, name, 1.0, portions[name]) for name in wanted if portions.get(name)]
    groups = [Group(p.name, list(p.parameters), wanted[p.part] * p.factor) for p in portions]
    used, idle = [g for g in groups if g.rate > 0], [g for g in groups if g.rate <= 0]
    if not used:
        raise SettingsError("No part has a learning rate above 0, so nothing would be learnt.", "", "learning_rate")
    for parameter in (parameter for group in idle for parameter in group.parameters):
        parameter.requires_grad_(False)  # no gradients for nothing
    return used, [f"The rate of {g.name} is 0: it does not learn." for g in idle]


def _construct(
    cls: type[torch.optim.Optimizer], groups: Sequence[Group], args: Mapping[str, Any]
) -> torch.optim.Optimizer:
    values = [{"params": group.parameters, "lr": rate_argument(group.rate, args)} for group in groups]
    highest = rate_argument(max(group.rate for group in groups), args)
    with _refusing(cls):
        optimizer = cls(values, lr=highest, **args)
    if hasattr(optimizer, "train"):  # schedule-free: they train on other weights than they give
        optimizer.train()
    return optimizer


@contextmanager
def _refusing(cls: type[torch.optim.Optimizer]) -> Iterator[None]:
    """What an optimiser raises for arguments that it cannot use; the device is known to be good."""
    try:
        yield
    except (TypeError, ValueError, LookupError, AttributeError, AssertionError, ArithmeticError, RuntimeError) as error:
        raise SettingsError(
            f"{cls.__name__} refuses its arguments: {first_line(error)}.", _allowed(cls), "optimizer_args"
        ) from error


def _names(cls: type[torch.optim.Optimizer]) -> list[str]:
    return sorted(set(inspect.signature(cls).parameters) - {"params", "lr"})


def _allowed(cls: type[torch.optim.Optimizer]) -> str:
    """What a user may write, with the values that hold otherwise."""
    known = inspect.signature(cls).parameters
    shown = (
        name if (value := known[name].default) is inspect.Parameter.empty else f"{name}={value}" for name in _names(cls)
    )
    return f"{cls.__name__} takes {', '.join(shown)}."


def parse_args(text: str, cls: type[torch.optim.Optimizer]) -> dict[str, Any]:
    """`weight_decay=0.01 betas=0.9,0.99` as literals (never evaluated). Raises SettingsError on anything else."""
    args: dict[str, Any] = {}
    for item in re.split(r"\s+(?=\w+\s*=)", text.strip()) if text.strip() else []:
        name, equals, value = (part.strip() for part in item.partition("="))
        if not equals or not name:
            remedy = f"Write pairs separated by spaces. {_allowed(cls)}"
            raise SettingsError(f"`{item}` is no `name=value`.", remedy, "optimizer_args")
        if name not in _names(cls):
            raise _unknown(name, cls)
        args[name] = _literal(name, value)
    return args


def _unknown(name: str, cls: type[torch.optim.Optimizer]) -> SettingsError:
    near = difflib.get_close_matches(name, _names(cls), n=1, cutoff=0.5)
    remedy = f"Did you mean `{near[0]}`? {_allowed(cls)}" if near else _allowed(cls)
    if name == "lr":
        remedy = "The rate has fields of its own."
    return SettingsError(f"{cls.__name__} has no argument `{name}`.", remedy, "optimizer_args")


def _literal(name: str, value: str) -> Any:
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError) as error:
        raise SettingsError(
            f"`{name}={value}` is not a number, True, False or a list of numbers.",
            "Write values as in `weight_decay=0.01 betas=0.9,0.99`.",
            "optimizer_args",
        ) from error
