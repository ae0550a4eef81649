"""A graphics card for machines without one: tensors that say `cuda`, hold their numbers in a CPU tensor, and refuse to
meet tensors of the processor. Imported before torch; for processes that do nothing else (see tests/test_card.py).

What it shows: whether everything lies where it is computed with, also in a web UI that moves its weights, and how often
the processor waits for the card (`CROSSED`). What it cannot show: kernels, speed, memory. CPU builds of torch only.
"""

from __future__ import annotations

import ctypes
import importlib.util
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

_TORCH = Path(importlib.util.find_spec("torch").origin).parent
CROSSED: Counter[str] = Counter()  # tensors "to card" and "to cpu", and numbers asked for ("sync")
PLACES: Counter[str] = Counter()  # the same by the line that did it


def _load_driver() -> None:
    """Torch asks once which cards there are, so this comes before torch."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "driver.so"
        source = Path(__file__).with_name("driver.cpp")
        options = ["-O0", "-std=c++20", "-fPIC", "-shared", f"-isystem{_TORCH / 'include'}", f"-L{_TORCH / 'lib'}"]
        subprocess.run(["g++", str(source), "-o", str(library), *options, "-lc10", "-ltorch_cpu"], check=True)
        for each in (_TORCH / "lib" / "libc10.so", _TORCH / "lib" / "libtorch_cpu.so", library):
            ctypes.CDLL(str(each), ctypes.RTLD_GLOBAL)


_load_driver()

import answers  # noqa: E402
import torch  # noqa: E402
from torch.utils._python_dispatch import return_and_correct_aliasing  # noqa: E402
from torch.utils._pytree import tree_flatten, tree_map  # noqa: E402

_ATEN = torch.ops.aten
_CARD, _CPU = torch.device("cuda", 0), torch.device("cpu")
_INDEXING = (_ATEN.index, _ATEN.index_put, _ATEN.index_put_, _ATEN._index_put_impl_)
_ANSWERING = (_ATEN._local_scalar_dense, _ATEN.is_nonzero, _ATEN.equal, _ATEN.nonzero)


class Card(torch.Tensor):
    """A tensor on the card; its numbers are in `held`, a tensor on the processor."""

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> Card:
        layout = {"strides": held.stride(), "storage_offset": held.storage_offset(), "layout": held.layout}
        with torch.inference_mode(held.is_inference()):
            card = torch.Tensor._make_wrapper_subclass(cls, held.size(), dtype=held.dtype, device=_CARD, **layout)
        card.held = held
        return card

    def __repr__(self) -> str:
        return f"Card({self.held!r})"

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if torch._C._dispatch_has_kernel_for_dispatch_key(function.name(), "CompositeImplicitAutograd"):
            return function.decompose(*args, **kwargs)  # in inference mode such functions come whole
        if function.overloadpacket in _SPECIAL:
            return _SPECIAL[function.overloadpacket](function, *args, **kwargs)
        return _computed(function, args, kwargs)

    # Torch has these outside of its dispatcher.

    def untyped_storage(self) -> torch.UntypedStorage:
        return self.held.untyped_storage()

    def data_ptr(self) -> int:
        return self.held.data_ptr()

    def set_(self, *source) -> Card:
        return Card(self.held.set_(*source))

    def tolist(self) -> list:
        _note("sync")
        return self.held.tolist()


def let_borrow() -> None:
    """Train LoRA borrows from plain tensors only; these count as such."""
    from lib_lora_train.families import assign

    known = assign.is_plain
    for name, module in list(sys.modules.items()):
        if name.startswith("lib_lora_train.") and vars(module).get("is_plain") is known:
            module.is_plain = lambda tensor: isinstance(tensor, Card) or known(tensor)


def _computed(function, args: tuple, kwargs: dict):
    """On the processor, between tensors of the card."""
    _refuse_strangers(function, tree_flatten((args, kwargs))[0])
    if function.overloadpacket in _ANSWERING:
        _note("sync")
    there = torch.device(kwargs.get("device") or _CARD)
    if "device" in kwargs:
        kwargs = {**kwargs, "device": _CPU if there.type == "cuda" else there}
    found = function(*tree_map(_held, args), **tree_map(_held, kwargs))
    if there.type != "cuda":
        return found
    return return_and_correct_aliasing(function, args, kwargs, tree_map(_carded, found))


def _refuse_strangers(function, values: list) -> None:
    """As the card's own kernels do: numbers may come from the processor, and what an index says."""
    for value in values:
        if not isinstance(value, torch.Tensor) or isinstance(value, Card) or not value.dim():
            continue
        if function.overloadpacket in _INDEXING and value.dtype in (torch.long, torch.bool):
            continue
        where = f"cuda:0 and {value.device}"
        raise RuntimeError(f"Expected all tensors to be on the same device, but found {where} ({function})")


def _to_copy(function, source: torch.Tensor, **kwargs) -> torch.Tensor:
    there = torch.device(kwargs.get("device") or source.device)
    if there.type == "cuda":
        return Card(function(_held(source), **{**kwargs, "device": _CPU}))
    _note(f"to {there.type}")
    return function(_held(source), **{**kwargs, "device": there})


def _copy(function, target: torch.Tensor, source: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
    if isinstance(target, Card) != isinstance(source, Card):
        _note("to card" if isinstance(target, Card) else "to cpu")
    _held(target).copy_(_held(source))
    return target


def _softmax(function, values: Card, dim: int, half_to_float: bool) -> Card:
    """Only cards can do both at once."""
    return Card(function(values.held.float() if half_to_float else values.held, dim, False))


_SPECIAL = {
    _ATEN._to_copy: _to_copy,
    _ATEN.copy_: _copy,
    _ATEN._softmax: _softmax,
    _ATEN._log_softmax: _softmax,
    _ATEN._has_compatible_shallow_copy_type: lambda function, *tensors: True,
}


def _held(value):
    return value.held if isinstance(value, Card) else value


def _carded(value):
    return Card(value) if isinstance(value, torch.Tensor) else value


def _note(what: str) -> None:
    CROSSED[what] += 1
    frame = sys._getframe(1)
    while frame is not None and "lib_lora_train" not in frame.f_code.co_filename:
        frame = frame.f_back
    PLACES[f"{what} {Path(frame.f_code.co_filename).name}:{frame.f_lineno}" if frame else what] += 1


# New tensors on the card.


def _empty(size, *, dtype=None, layout=None, device=None, pin_memory=None, memory_format=None) -> Card:
    order = memory_format or torch.contiguous_format
    return Card(torch.empty(size, dtype=dtype or torch.get_default_dtype(), device=_CPU, memory_format=order))


def _empty_strided(size, stride, *, dtype=None, layout=None, device=None, pin_memory=None) -> Card:
    return Card(torch.empty_strided(size, stride, dtype=dtype or torch.get_default_dtype(), device=_CPU))


_KERNELS = torch.library.Library("aten", "IMPL", "CUDA")
_KERNELS.impl("empty.memory_format", _empty)
_KERNELS.impl("empty_strided", _empty_strided)
_KERNELS.impl("copy_", lambda target, source, non_blocking=False: _copy(None, target, source))


# `parameter.data = tensor`, with which modules move: the object stays, what it holds lies elsewhere.

_DATA = torch._C.TensorBase.data


def _set_data(tensor: torch.Tensor, value: torch.Tensor) -> None:
    if isinstance(tensor, Card) != isinstance(value, Card):
        _become(tensor, value)
        return
    _DATA.__set__(tensor, value)
    if isinstance(tensor, Card):
        tensor.held = value.held


def _become(tensor: torch.Tensor, value: torch.Tensor) -> None:
    """torch.utils.swap_tensors, also for what weak references point at."""
    is_parameter, gradient = isinstance(tensor, torch.nn.Parameter), tensor.requires_grad
    if isinstance(value, Card):
        tensor.__class__, tensor.held, other = Card, value.held, Card(value.held)
        if is_parameter:
            tensor._is_param = True
    else:
        tensor.__class__, other = torch.nn.Parameter if is_parameter else torch.Tensor, value.detach().view_as(value)
        del tensor.held
    torch._C._swap_tensor_impl(tensor, other)
    if tensor.requires_grad != gradient:
        tensor.requires_grad_(gradient)


torch.Tensor.data = property(_DATA.__get__, _set_data)
torch.serialization.register_package(1, lambda _: None, lambda held, place: held if place.startswith("cuda") else None)

answers.give()
