"""All adapter layers of one network: hanging them on borrowed modules, taking them off, and their tensors in a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from .check import check
from .drops import Drops, Shares
from .layer import DORA, Form, Layer
from .targets import PARTS, Target


@dataclass(frozen=True)
class Portion:
    """Parameters that learn at one rate: that of `part` times `factor`."""

    name: str
    part: str
    factor: float
    parameters: Sequence[nn.Parameter]


class AdapterSet:
    """A network for one loan. Attached, each layer's output has its adapter's added; detached, nothing is left on the
    modules. Several sets may be attached at once, taken off in reverse order."""

    def __init__(self, layers: list[tuple[Target, Layer]], shares: Shares | None = None) -> None:
        """`layers` in file order; `shares` of what sits out inside `dropping`."""
        self.layers = layers
        self._shares = shares or Shares()
        self._drops: Drops | None = None
        self._hung: dict[str, tuple[Callable, Callable | None]] = {}  # by key: our forward, and the one before it
        self.parts = [part for part in PARTS if any(target.part == part for target, _ in layers)]
        self.multipliers = dict.fromkeys(self.parts, 1.0)

    @property
    def multiplier(self) -> float:
        """Strength, 1 for training; the U-Net's where the parts have different ones."""
        return self.multipliers[self.parts[-1]]

    @multiplier.setter
    def multiplier(self, value: float) -> None:
        self.multipliers = dict.fromkeys(self.parts, value)

    @property
    def forms(self) -> dict[str, Form]:
        return {target.key: layer.form for target, layer in self.layers}

    @property
    def attached(self) -> bool:
        return bool(self._hung)

    def attach(self) -> None:
        if self.attached:
            raise RuntimeError("These adapters are attached already.")
        for target, layer in self.layers:
            before = target.module.__dict__.get("forward")
            plain = before or partial(type(target.module).forward, target.module)
            target.module.forward = partial(self._forward, plain, layer, target)
            self._hung[target.key] = (target.module.forward, before)

    def detach(self) -> None:
        """Raises RuntimeError when something that was put on later is still there; then nothing is changed."""
        if any(target.module.__dict__.get("forward") is not self._hung[target.key][0] for target, _ in self._on()):
            raise RuntimeError("Adapters have to be taken off in reverse order.")
        for target, _ in self._on():
            del target.module.forward
            before = self._hung.pop(target.key)[1]
            if before is not None:
                target.module.forward = before

    @contextmanager
    def without(self) -> Iterator[None]:
        """As if detached, whatever was so before."""
        attached = self.attached
        self.detach()
        try:
            yield
        finally:
            if attached:
                self.attach()

    @contextmanager
    def dropping(self, seed: int, samples: Sequence[str]) -> Iterator[None]:
        """A training pass, forward and backward, over `samples`: in it neurons, ranks and modules sit out, and DyLoRA
        chooses its rank. Elsewhere everything takes part."""
        self._drops = Drops(seed, samples, self._shares)
        try:
            yield
        finally:
            self._drops = None

    def parameters(self, part: str) -> list[nn.Parameter]:
        return [tensor for target, layer in self.layers if target.part == part for tensor in layer.tensors.values()]

    def limit_norms(self, most: float) -> int:
        """Scales down every layer whose change has a norm above `most`; how many there were. (scale_weight_norms, as
        sd-scripts: golden 06_max_norm.)"""
        norms = [(layer, layer.norm(target.module)) for target, layer in self.layers]
        above = [(layer, norm) for layer, norm in norms if norm is not None and norm > most]
        for layer, norm in above:
            layer.shrink(most / norm)
        return len(above)

    def state_dict(self, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Copies on the CPU by file key, in file order; alpha is 0-dimensional."""
        return {
            f"{target.key}.{name}": _shaped(name, tensor, target).detach().to("cpu", _stored(tensor, dtype), copy=True)
            for target, layer in self.layers
            for name, tensor in (layer.constants() | layer.tensors).items()
        }

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from the tensors of a file in kohya format. Another alpha there is made up for, so that the effect is
        the file's. Raises SettingsError naming what differs; then nothing is changed."""
        found = check(tensors, self.forms)
        with torch.no_grad():
            for target, layer in self.layers:
                ours, alpha = layer.tensors, found[target.key].alpha
                for name, tensor in found[target.key].tensors.items():
                    ours[name].copy_(tensor.reshape(ours[name].shape))
                ratio = _correction(alpha, layer)
                for name in (name for name in layer.late if name in ours and ratio != 1.0):
                    ours[name].mul_(ratio)

    def _on(self) -> list[tuple[Target, Layer]]:
        return [(target, layer) for target, layer in self.layers if target.key in self._hung]

    def _forward(self, plain: Callable, layer: Layer, target: Target, x: Tensor) -> Tensor:
        drops = self._drops.at(target.key) if self._drops else None
        return plain(x) + layer(x, target.module, self.multipliers[target.part], drops)


def _shaped(name: str, tensor: Tensor, target: Target) -> Tensor:
    """As files have it: where the web UI's own layer is linear, A1111 takes magnitudes in two dimensions only."""
    return tensor.flatten(1) if name == DORA and target.linear else tensor


def _stored(tensor: Tensor, dtype: torch.dtype) -> torch.dtype:
    return dtype if tensor.is_floating_point() else tensor.dtype


def _correction(alpha: Tensor | None, layer: Layer) -> float:
    """The file's alpha over ours; a file without one means alpha = rank. 1 when only the file's rounding differs."""
    if not layer.alpha_scales:
        return 1.0
    if alpha is None:
        return layer.form.rank / layer.form.alpha
    same = torch.equal(alpha, torch.tensor(layer.form.alpha).to(alpha.dtype))
    return 1.0 if same else float(alpha) / layer.form.alpha
