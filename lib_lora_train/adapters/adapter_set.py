"""All adapter layers of one LoRA: hanging them on borrowed modules, taking them off, and their tensors in a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from .check import check
from .lora import LoraLayer
from .targets import PARTS, Target

_TENSORS = ("alpha", "lora_down.weight", "lora_up.weight")  # in file order


class AdapterSet:
    """A LoRA or LoCon for one loan. Attached, each layer's output has its adapter's added; detached, nothing is left
    on the modules. Several sets may be attached at once, taken off in reverse order."""

    def __init__(self, layers: list[tuple[Target, LoraLayer]]) -> None:
        """`layers` in file order."""
        self._layers = layers
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
    def attached(self) -> bool:
        return bool(self._hung)

    def attach(self) -> None:
        if self.attached:
            raise RuntimeError("These adapters are attached already.")
        for target, layer in self._layers:
            before = target.module.__dict__.get("forward")
            plain = before or partial(type(target.module).forward, target.module)
            target.module.forward = partial(self._forward, plain, layer, target.part)
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

    def parameters(self, part: str) -> list[nn.Parameter]:
        return [tensor for target, layer in self._layers if target.part == part for tensor in (layer.down, layer.up)]

    def state_dict(self, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Copies on the CPU by file key, in file order; alpha is 0-dimensional."""
        return {
            f"{target.key}.{name}": tensor.detach().to("cpu", dtype, copy=True)
            for target, layer in self._layers
            for name, tensor in zip(_TENSORS, (torch.tensor(layer.alpha), layer.down, layer.up), strict=True)
        }

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from the tensors of a file in kohya format. Another alpha there is made up for in `up`, so that the
        effect is the file's. Raises SettingsError naming what differs; then nothing is changed."""
        check(tensors, {target.key: (tuple(layer.down.shape), tuple(layer.up.shape)) for target, layer in self._layers})
        with torch.no_grad():
            for target, layer in self._layers:
                alpha, down, up = (tensors.get(f"{target.key}.{name}") for name in _TENSORS)
                layer.down.copy_(down.view(layer.down.shape))
                layer.up.copy_(up.view(layer.up.shape))
                layer.up.mul_(_correction(alpha, layer))

    def _on(self) -> list[tuple[Target, LoraLayer]]:
        return [(target, layer) for target, layer in self._layers if target.key in self._hung]

    def _forward(self, plain: Callable, layer: LoraLayer, part: str, x: Tensor) -> Tensor:
        return plain(x) + layer(x, self.multipliers[part])


def _correction(alpha: Tensor | None, layer: LoraLayer) -> float:
    """The file's alpha over ours; a file without one means alpha = rank. 1 when only the file's rounding differs."""
    if alpha is None:
        return layer.rank / layer.alpha
    same = torch.equal(alpha, torch.tensor(layer.alpha).to(alpha.dtype))
    return 1.0 if same else float(alpha) / layer.alpha
