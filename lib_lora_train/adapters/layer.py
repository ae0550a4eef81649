"""What all adapter layers share: tensors, how they change a layer's output, weight decomposition, first values."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .drops import LayerDrops
from .spec import Spec

Shape = tuple[int, ...]
DORA = "dora_scale"


@dataclass(frozen=True)
class Form:
    """What an adapter layer is, without its numbers. `shapes` of its trained tensors by file name, in file order."""

    kind: str
    rank: int
    alpha: float
    shapes: Mapping[str, Shape]
    unit: int = 1  # DyLoRA: ranks trained at once
    limit: float = 0.0  # OFT, BOFT: how far it may turn, 0: at will
    constants: Mapping[str, float] = field(default_factory=dict)  # 0-dimensional tensors of the file besides alpha

    @property
    def makes_weights(self) -> bool:
        """Whether each pass makes a weight of the layer's size; plain LoRAs need not."""
        return self.kind not in ("LoRA", "LoCon", "DyLoRA") or DORA in self.shapes


@dataclass(frozen=True)
class Found:
    """An adapter layer as a file has it: shapes by name, its alpha if it has one, other 0-dimensional values."""

    shapes: Mapping[str, Shape]
    alpha: float | None
    constants: Mapping[str, float]


class Layer:
    """An adapter of one layer. Holds nothing of that layer, whose borrowed weight can move: it is handed in.

    Parameters are float32; the answer has the input's dtype. Kinds say what `change` of the weight they stand for.
    """

    names: ClassVar[Sequence[str]] = ()  # of every tensor it may have in a file
    ranked: ClassVar[Sequence[str]] = ()  # tensors whose first side is the rank
    scaled: ClassVar[Sequence[str]] = ()  # tensors that shrink together when the change has to shrink
    late: ClassVar[Sequence[str]] = ()  # tensors that begin at zero: LoRA+ gives them a higher rate
    has_alpha: ClassVar[bool] = True

    def __init__(self, form: Form, device: torch.device) -> None:
        self.form = form
        self.tensors = {name: nn.Parameter(torch.zeros(shape, device=device)) for name, shape in form.shapes.items()}

    @staticmethod
    def form(shape: Shape, spec: Spec) -> Form | None:
        """For a weight [out, in, ...] of `shape`; None where this kind cannot be used."""
        raise NotImplementedError

    @staticmethod
    def spec_in(found: Found, shape: Shape) -> Spec:
        """What a file's tensors were made for, but for alpha."""
        raise NotImplementedError

    @classmethod
    def form_in(cls, found: Found, shape: Shape) -> Form | None:
        """That of a file. None where the file's tensors cannot belong to such a layer."""
        spec = cls.spec_in(found, shape)
        form = cls.form(shape, replace(spec, alpha=spec.rank if found.alpha is None else found.alpha))
        return form and replace(form, shapes={**form.shapes, **magnitudes_in(found, shape)})

    @property
    def alpha_scales(self) -> bool:
        """Whether alpha / rank is how strong it is."""
        return self.has_alpha

    @property
    def scale(self) -> float:
        return self.form.alpha / self.form.rank

    def start(self, draw: torch.Generator, module: nn.Module) -> None:
        """First values, from `draw` (on the CPU) alone; afterwards the layer changes nothing, but for rounding."""
        raise NotImplementedError

    def change(self, module: nn.Module) -> Tensor:
        """[out, in, ...] float32: what is added to the weight, before weight decomposition."""
        raise NotImplementedError

    def bias_change(self) -> Tensor | None:
        return None

    def added(self, module: nn.Module) -> Tensor:
        """[out, in, ...] float32: what is added to `module`'s weight at strength 1."""
        change = self.change(module)
        magnitudes = self.tensors.get(DORA)
        return change if magnitudes is None else decomposed(module.weight.detach().float(), change, magnitudes)

    def __call__(self, x: Tensor, module: nn.Module, multiplier: float, drops: LayerDrops | None = None) -> Tensor:
        """What is added to `module`'s output for `x` [B, ...]."""
        bias = self.bias_change()
        weight = recomputed(lambda: self.added(module).to(x.dtype))
        y = respond(module, x, weight, None if bias is None else bias.to(x.dtype))
        return multiplier * (y if drops is None else drops.modules(drops.channels(drops.neurons(y), y, module)))

    def shrink(self, ratio: float) -> None:
        """Multiplies the change by `ratio`."""
        with torch.no_grad():
            for name in self._scaled():
                self.tensors[name].mul_(ratio ** (1 / len(self._scaled())))

    def _scaled(self) -> list[str]:
        return [name for name in self.scaled if name in self.tensors]

    def norm(self, module: nn.Module) -> float | None:
        """Of the change, without weight decomposition; None for kinds that are no sum of weights."""
        with torch.no_grad():
            return float(self.change(module).norm()) if self._scaled() else None

    def constants(self) -> dict[str, Tensor]:
        """0-dimensional tensors of the file, before the trained ones."""
        found = {"alpha": torch.tensor(self.form.alpha)} if self.has_alpha else {}
        return found | {name: torch.tensor(value) for name, value in self.form.constants.items()}


def respond(module: nn.Module, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The output of a layer like `module` with these weights."""
    if isinstance(module, nn.Conv2d):
        return F.conv2d(x, weight, bias, module.stride, module.padding, module.dilation, module.groups)
    if isinstance(module, nn.LayerNorm):
        return F.layer_norm(x, module.normalized_shape, weight, bias, module.eps)
    if isinstance(module, nn.GroupNorm):
        return F.group_norm(x, module.num_groups, weight, bias, module.eps)
    return F.linear(x, weight, bias)


def recomputed(change: Callable[[], Tensor]) -> Tensor:
    """What `change` gives. For backward it is computed once more: its way there has several times a layer's numbers."""
    return checkpoint(change, use_reentrant=False, preserve_rng_state=False)


def decomposed(weight: Tensor, change: Tensor, magnitudes: Tensor) -> Tensor:
    """The change of `weight` when magnitudes and directions are apart: "DoRA" (arXiv 2402.09353).

    `magnitudes` [1, in, 1, ...] go along the input axis, the only one that the web UIs apply as it was trained
    (golden 09_deltas); other trainers' [out, 1, ...] are understood as they mean it.
    """
    merged = weight + change
    return merged * (magnitudes / lengths(merged, magnitudes.shape)) - weight


def lengths(weight: Tensor, shape: Sequence[int]) -> Tensor:
    """Norms of `weight` over the axes in which `shape` is 1."""
    along = [axis for axis, size in enumerate(shape) if size == 1]
    return weight.square().sum(dim=along, keepdim=True).sqrt()


def magnitudes_in(found: Found, shape: Shape) -> dict[str, Shape]:
    """Those of a file, if it has them, with as many dimensions as the weight of `shape`."""
    there = found.shapes.get(DORA, ())
    return {DORA: (*there, *[1] * (len(shape) - len(there)))} if there else {}


def magnitudes_shape(shape: Shape) -> Shape:
    return (1, shape[1], *[1] * (len(shape) - 2))


def generator(seed: int, key: str) -> torch.Generator:
    digest = hashlib.blake2b(f"{seed}/{key}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def uniform(tensor: Tensor, draw: torch.Generator) -> None:
    """Within 1 / sqrt(fan in): Kaiming's rule with a = sqrt(5), as LoRA's authors begin."""
    bound = 1 / math.sqrt(max(tensor[0].numel(), 1))
    with torch.no_grad():
        tensor.copy_(torch.empty(tensor.shape).uniform_(-bound, bound, generator=draw))


def normal(tensor: Tensor, draw: torch.Generator, std: float) -> None:
    with torch.no_grad():
        tensor.copy_(torch.empty(tensor.shape).normal_(0, std, generator=draw))
