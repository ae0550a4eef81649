"""OFT and BOFT: the weight's outputs are turned, in blocks, instead of added to."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .layer import Form, Found, Layer, Shape
from .lokr import factors
from .spec import Spec

_BLOCKS, _RESCALE = "oft_blocks", "rescale"


class OftLayer(Layer):
    """Turns the outputs of the weight by one orthogonal matrix per block of them; blocks [count, size, size].

    "Controlling Text-to-Image Diffusion by Orthogonal Finetuning" (arXiv 2306.07280). Tensors and block sizes as in
    LyCORIS: the rank is the largest block, and `alpha` in the file how far all may turn together (0: at will).
    """

    names = (_BLOCKS, _RESCALE)
    late = (_BLOCKS,)

    @property
    def alpha_scales(self) -> bool:
        return False

    @staticmethod
    def form(shape: Shape, spec: Spec) -> Form | None:
        if len(shape) < 2:
            return None
        size, count = factors(shape[0], spec.rank)
        return _form(shape, spec, (count, size, size))

    @classmethod
    def form_in(cls, found: Found, shape: Shape) -> Form | None:
        blocks = found.shapes[_BLOCKS]
        kind = "OFT" if len(blocks) == 3 else "BOFT"
        spec = Spec(kind, blocks[-1], constraint=found.alpha or 0.0, rescaled=_RESCALE in found.shapes)
        return _form(shape, spec, blocks)

    def start(self, draw: torch.Generator, module: nn.Module) -> None:
        """Not turned: zero; `rescale` leaves everything as it is."""
        if _RESCALE in self.tensors:
            nn.init.ones_(self.tensors[_RESCALE])

    def change(self, module: nn.Module) -> Tensor:
        weight = module.weight.detach().float()
        turned = self._turned(weight)
        return (turned if _RESCALE not in self.tensors else turned * self.tensors[_RESCALE]) - weight

    def _turned(self, weight: Tensor) -> Tensor:
        turns = self._turns()
        blocks = weight.unflatten(0, turns.shape[:2])
        return torch.einsum("knm,kn...->km...", turns, blocks).flatten(0, 1)

    def _turns(self) -> Tensor:
        """Orthogonal matrices of the shape of the blocks: Cayley's transform of their antisymmetric part."""
        blocks = self.tensors[_BLOCKS]
        skew = blocks - blocks.transpose(-1, -2)
        if self.form.limit:
            length = skew.norm()
            skew = skew * (length.clamp(max=self.form.limit) + 1e-8) / (length + 1e-8)
        eye = torch.eye(skew.shape[-1], device=skew.device)
        return torch.linalg.solve(eye - skew, eye + skew, left=False)


class BoftLayer(OftLayer):
    """Several rounds of turning smaller blocks, whose outputs are shuffled in between; blocks [rounds, count, size,
    size]. "Parameter-Efficient Orthogonal Finetuning via Butterfly Factorization" (arXiv 2311.06243)."""

    @staticmethod
    def form(shape: Shape, spec: Spec) -> Form | None:
        size, count = butterfly(shape[0], spec.rank)
        if len(shape) < 2 or not count:
            return None
        rounds = (count - 1).bit_count() + 1
        return _form(shape, spec, (rounds, count, size, size))

    def _turned(self, weight: Tensor) -> Tensor:
        turns = self._turns()
        half = turns.shape[-1] // 2
        for number, turn in enumerate(turns):
            mixed = _swapped(weight, 2, 2**number * half).unflatten(0, turn.shape[:2])
            mixed = torch.einsum("bij,bj...->bi...", turn, mixed).flatten(0, 1)
            weight = _swapped(mixed, 2**number * half, 2)
        return weight


def _form(shape: Shape, spec: Spec, blocks: Shape) -> Form:
    shapes: dict[str, Shape] = {_BLOCKS: tuple(blocks)}
    if spec.rescaled:
        shapes[_RESCALE] = (shape[0], *[1] * (len(shape) - 1))
    return Form(spec.kind, spec.rank, spec.constraint, shapes, limit=spec.constraint * shape[0])


def _swapped(weight: Tensor, first: int, second: int) -> Tensor:
    """Outputs seen as [rest, first, second], the last two axes exchanged."""
    return weight.unflatten(0, (-1, first, second)).transpose(1, 2).flatten(0, 2)


def butterfly(number: int, limit: int) -> tuple[int, int]:
    """(size, count) of blocks: `size` even and at most `limit`, `count` a power of two, as LyCORIS chooses them;
    (0, 0) where there are none."""
    sizes = range(min(limit, number) // 2 * 2, 0, -2)
    fitting = (size for size in sizes if number % size == 0 and (number // size).bit_count() == 1)
    size = next(fitting, 0)
    return size, number // size if size else 0
