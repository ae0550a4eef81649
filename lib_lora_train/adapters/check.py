"""Do the tensors of a LoRA file fit? If not, what differs, said by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import SettingsError
from ..families.assign import matrix
from .glora import GloraLayer
from .kinds import KINDS, TENSORS, kind_of
from .layer import Form, Found, Shape

_FIELD = "network_weights"
_OTHERS = {  # what other names of tensors show
    "lora_A": "a LoRA in diffusers' format",
    "lora_B": "a LoRA in diffusers' format",
    "oft_diag": "an OFT of an older kind",
    "bm.weight": "a GLoRA with decomposed convolutions",
    "lokr_t1": "a LoKr of an unknown kind",
    "scale": "a network with scales of its own",
}
_CONTEXT_WIDTHS = {768: "SD1", 1024: "SD2", 2048: "SDXL"}
_CONSTANTS = ("alpha", "on_input")
_SWITCH = "switch on `Type and ranks of the file`."


@dataclass(frozen=True)
class Module:
    """One module of a file: its kind, its trained tensors in our order, its 0-dimensional ones."""

    kind: str
    tensors: Mapping[str, Tensor]
    alpha: Tensor | None
    constants: Mapping[str, float]

    @property
    def found(self) -> Found:
        shapes = {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}
        return Found(shapes, None if self.alpha is None else float(self.alpha), self.constants)


def modules_of(tensors: Iterable[str]) -> list[str]:
    """The distinct module names of a kohya file's keys, in their order."""
    return list(dict.fromkeys(key.split(".", 1)[0] for key in tensors))


def family_of(tensors: Mapping[str, Tensor]) -> str:
    """SD1, SD2 or SDXL as far as a LoRA's names and widths show it, else an empty string."""
    if any(key.startswith(("lora_te1_", "lora_te2_", "lora_unet_input_blocks_")) for key in tensors):
        return "SDXL"
    widths = (t.shape[1] for key, t in tensors.items() if key.endswith("attn2_to_k.lora_down.weight"))
    return _CONTEXT_WIDTHS.get(next(widths, 0), "")


def check_kind(tensors: Mapping[str, Tensor]) -> None:
    """Raises SettingsError unless all tensors are those of kinds we know, complete and finite."""
    for key, tensor in tensors.items():
        name = key.partition(".")[2]
        if name not in TENSORS:
            kind = next((kind for mark, kind in _OTHERS.items() if mark in name), f"not a LoRA (`{key}`)")
            raise _differs(f"The file is {kind}.", "Choose a LoRA or LyCORIS file in kohya format.")
        if not bool(torch.isfinite(tensor.float()).all()):
            raise _differs(f"`{key}` in the file is not finite.", "The file is damaged; choose another.")
    read(tensors)


def read(tensors: Mapping[str, Tensor]) -> dict[str, Module]:
    """By module name. Raises SettingsError for a module whose tensors are no whole one of any kind."""
    by_module: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        module, _, name = key.partition(".")
        by_module.setdefault(module, {})[name] = tensor
    return {module: _module(module, found) for module, found in by_module.items()}


def _module(name: str, found: Mapping[str, Tensor]) -> Module:
    blocks = found.get("oft_blocks")
    kind = kind_of(found, 3 if blocks is None else blocks.dim())
    if kind is None:
        raise _differs(f"`{name}` in the file is incomplete.", "The file is damaged; choose another.")
    trained = {key: found[key] for key in KINDS[kind].names if key in found and key not in _CONSTANTS}
    constants = {key: float(found[key]) for key in _CONSTANTS[1:] if key in found}
    return Module(kind, GloraLayer.ordered(trained) if kind == "GLoRA" else trained, found.get("alpha"), constants)


def forms_in(tensors: Mapping[str, Tensor], shapes: Mapping[str, Shape]) -> dict[str, Form]:
    """The form of each module of a file by name; `shapes` are those of the layers' weights. Modules that no layer is
    there for are left out. Raises SettingsError when one cannot belong to its layer."""
    forms = {}
    for key, module in read(tensors).items():
        if key not in shapes:
            continue
        form = KINDS[module.kind].form_in(module.found, shapes[key])
        if form is None or not _same(form.shapes, module.found.shapes):
            raise _other_model(key, tensors, module.found.shapes, shapes[key])
        forms[key] = form
    return forms


def check(tensors: Mapping[str, Tensor], wanted: Mapping[str, Form]) -> dict[str, Module]:
    """The file's modules by name, those of a network of the forms `wanted`.

    Raises SettingsError, naming what differs, when they are not."""
    check_kind(tensors)
    modules = read(tensors)
    if not set(modules) & set(wanted):
        family = family_of(tensors) or "another family"
        raise _differs(f"The LoRA file is for {family}.", "Choose one made for the loaded checkpoint's family.")
    for key, module in modules.items():
        if key in wanted:
            _check_form(key, module, wanted[key], tensors)
    check_parts(set(modules), set(wanted))
    _check_modules(set(modules), set(wanted))
    return modules


def _check_form(key: str, module: Module, wanted: Form, tensors: Mapping[str, Tensor]) -> None:
    found, ours = module.found.shapes, wanted.shapes
    if _same(found, ours):
        return
    if KINDS[module.kind].names[0] != KINDS[wanted.kind].names[0]:
        said = f"The file is a {module.kind}, the recipe a {wanted.kind} (`{key}`)."
        raise _differs(said, f"Choose the type {module.kind}, or {_SWITCH}")
    if set(found) != set(ours):
        odd = min(set(found) ^ set(ours))
        what = {"dora_scale": "DoRA", "lora_mid.weight": "decomposed convolutions"}.get(odd, f"`{odd}`")
        has, not_ = ("with", "without") if odd in found else ("without", "with")
        raise _differs(f"The file is {has} {what}, the recipe {not_} (`{key}`).", f"Change that, or {_SWITCH}")
    rank = next((found[name][0] for name in KINDS[module.kind].ranked if name in found), None)
    if rank is not None and _same(
        {name: _with_rank(found[name], rank, wanted.rank, ours[name]) for name in ours}, ours
    ):
        field = "convolution rank" if any(matrix(shape)[2:] for shape in ours.values()) else "rank"
        said = f"The LoRA file has the {field} {rank}, the recipe {wanted.rank} (`{key}`)."
        raise _differs(said, f"Set the {field} to {rank}, or {_SWITCH}")
    raise _other_model(key, tensors, found, ours)


def _with_rank(shape: Shape, rank: int, other: int, like: Shape) -> Shape:
    """`shape` with `other` instead of `rank`, where `like` has that."""
    if len(matrix(shape)) != len(matrix(like)):
        return shape
    return tuple(b if (a, b) == (rank, other) else a for a, b in zip(matrix(shape), matrix(like), strict=True))


def _same(found: Mapping[str, Shape], wanted: Mapping[str, Shape]) -> bool:
    """Trainers disagree about SD2's 1x1 convolutions."""
    return set(found) == set(wanted) and all(matrix(found[name]) == matrix(wanted[name]) for name in wanted)


def _other_model(key: str, tensors: Mapping[str, Tensor], found: object, wanted: object) -> SettingsError:
    family = family_of(tensors)
    about = f"The LoRA file is for {family}: " if family else "The LoRA file is for another model: "
    return _differs(f"{about}`{key}` has the shapes {found} instead of {wanted}.", "Choose a fitting file.")


def check_parts(there: Iterable[str], wanted: Iterable[str]) -> None:
    """Raises SettingsError when only one of them, by names of modules, has the U-Net or a text encoder."""
    there, wanted = list(there), list(wanted)
    for part, prefix in (("U-Net", "lora_unet_"), ("text encoder", "lora_te")):
        has, wants = (any(key.startswith(prefix) for key in keys) for keys in (there, wanted))
        if has and not wants:
            raise _differs(f"The LoRA file also holds the {part}.", f"Switch on training of the {part}.")
        if wants and not has:
            raise _differs(f"The LoRA file does not hold the {part}.", f"Switch off training of the {part}.")


def _check_modules(there: set[str], wanted: set[str]) -> None:
    if there - wanted:
        said = f"The LoRA file also holds `{min(there - wanted)}`."
        raise _differs(said, f"If it is a LoCon, choose that type, or {_SWITCH}")
    if wanted - there:
        said = f"The LoRA file lacks `{min(wanted - there)}`."
        raise _differs(said, f"If it is no LoCon, choose the type LoRA, or {_SWITCH}")


def _differs(message: str, remedy: str) -> SettingsError:
    return SettingsError(message, remedy, _FIELD)
