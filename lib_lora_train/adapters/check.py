"""Do the tensors of a LoRA file fit? If not, what differs, said by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from ..errors import SettingsError
from ..families.assign import matrix

Shapes = tuple[tuple[int, ...], tuple[int, ...]]  # of down and up
_FIELD = "network_weights"
_LORA = ("alpha", "lora_down.weight", "lora_up.weight")
_OTHER_KINDS = {  # by what a tensor's name holds
    "dora_scale": "DoRA",
    "hada_": "LoHa",
    "lokr_": "LoKr",
    "lora_mid": "a LoCon with core tensors",
    "oft_": "OFT",
    "boft_": "BOFT",
    "on_input": "IA3",
    "lora_A": "a LoRA in diffusers' format",
    "lora_B": "a LoRA in diffusers' format",
    "diff": "weight differences",
}
_CONTEXT_WIDTHS = {768: "SD1", 1024: "SD2", 2048: "SDXL"}


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
    """Raises SettingsError unless all tensors are an ordinary LoRA's or LoCon's, complete and finite."""
    for key, tensor in tensors.items():
        name = key.partition(".")[2]
        if name not in _LORA:
            kind = next((kind for mark, kind in _OTHER_KINDS.items() if mark in name), f"not a LoRA (`{key}`)")
            raise _differs(f"The file is {kind}.", "Choose a LoRA or LoCon in kohya format.")
        if not bool(torch.isfinite(tensor.float()).all()):
            raise _differs(f"`{key}` in the file is not finite.", "The file is damaged; choose another.")
    for module in modules_of(tensors):
        if any(f"{module}.{name}" not in tensors for name in _LORA[1:]):
            raise _differs(f"`{module}` in the file is incomplete.", "The file is damaged; choose another.")


def check(tensors: Mapping[str, Tensor], wanted: Mapping[str, Shapes]) -> None:
    """Raises SettingsError, naming what differs, unless `tensors` are those of a network of the shapes `wanted`."""
    check_kind(tensors)
    there = modules_of(tensors)
    if not set(there) & set(wanted):
        family = family_of(tensors) or "another family"
        raise _differs(f"The LoRA file is for {family}.", "Choose one made for the loaded checkpoint's family.")
    for key in there:
        if key in wanted:
            _check_shapes(key, tensors, wanted[key])
    _check_modules(set(there), set(wanted))


def _check_shapes(key: str, tensors: Mapping[str, Tensor], wanted: Shapes) -> None:
    found = tuple(tuple(tensors[f"{key}.{name}"].shape) for name in _LORA[1:])
    if tuple(map(matrix, found)) == tuple(map(matrix, wanted)):  # trainers disagree about SD2's 1x1 convolutions
        return
    if found[0][1:] == wanted[0][1:] and found[1][0] == wanted[1][0]:
        field = "convolution rank" if wanted[0][2:] not in ((), (1, 1)) else "rank"
        raise _differs(
            f"The LoRA file has the {field} {found[0][0]}, the recipe {wanted[0][0]} (`{key}`).",
            f"Set the {field} to {found[0][0]}.",
        )
    family = family_of(tensors)
    about = f"The LoRA file is for {family}: " if family else "The LoRA file is for another model: "
    raise _differs(f"{about}`{key}` has the shapes {found} instead of {wanted}.", "Choose a fitting file.")


def _check_modules(there: set[str], wanted: set[str]) -> None:
    for part, prefix in (("U-Net", "lora_unet_"), ("text encoder", "lora_te")):
        has, wants = (any(key.startswith(prefix) for key in keys) for keys in (there, wanted))
        if has and not wants:
            raise _differs(f"The LoRA file also holds the {part}.", f"Switch on training of the {part}.")
        if wants and not has:
            raise _differs(f"The LoRA file does not hold the {part}.", f"Switch off training of the {part}.")
    if there - wanted:
        raise _differs(f"The LoRA file also holds `{min(there - wanted)}`.", "If it is a LoCon, choose that type.")
    if wanted - there:
        raise _differs(f"The LoRA file lacks `{min(wanted - there)}`.", "If it is no LoCon, choose the type LoRA.")


def _differs(message: str, remedy: str) -> SettingsError:
    return SettingsError(message, remedy, _FIELD)
