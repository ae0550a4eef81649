"""Reading the tensors of a LoRA file that somebody gives us."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from ..errors import SettingsError
from .check import check_kind

_PICKLES = (".pt", ".pth", ".ckpt", ".bin")


def read(path: Path) -> dict[str, Tensor]:
    """Tensors by file key, copied into memory, so that the file is not kept open.

    Raises SettingsError when the file cannot be read, could carry a program (pickle), or is no LoRA in kohya format.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if path.suffix.lower() in _PICKLES:
        raise _unusable(f"{path.name} is in a format that can carry programs.", "Use a .safetensors file.")
    if not path.is_file():
        raise _unusable(f"There is no file {path}.", "Check the path.")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        raise _unusable(f"{path.name} cannot be read ({error}).", "Choose another file.") from error
    if not tensors:
        raise _unusable(f"{path.name} holds no tensors.", "Choose another file.")
    check_kind(tensors)
    return tensors


def _unusable(message: str, remedy: str) -> SettingsError:
    return SettingsError(message, remedy, "network_weights")
