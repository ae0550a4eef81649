"""Which family a checkpoint is of, seen from its U-Net's tensors; what cannot be trained is refused by name."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import HostError
from .layout import Shapes

_CONV_IN = "input_blocks.0.0.weight"
_ODD_INPUTS = {9: "an inpainting model", 8: "an instruct-pix2pix model", 7: "an upscaler", 5: "a depth-to-image model"}


def detect(shapes: Shapes) -> str:
    """The family's name (SD1, SD2, SDXL). `shapes` by LDM key below `model.diffusion_model.`.

    Raises HostError, saying what it is, for models with other inputs or of another architecture.
    """
    if _CONV_IN not in shapes:
        kind = "a transformer (SD3, Flux or a relative)" if any("blocks.0." in key for key in shapes) else "unknown"
        raise HostError(f"The loaded model's architecture is {kind}.", "Load a Stable Diffusion 1, 2 or XL checkpoint.")
    inputs = shapes[_CONV_IN][1]
    if inputs != 4:
        kind = _ODD_INPUTS.get(inputs, "a special model")
        raise HostError(
            f"The loaded checkpoint is {kind} ({inputs} input channels).",
            "Train on the ordinary checkpoint it came from.",
        )
    return next(name for name, fits in _RULES.items() if fits(shapes))


def _context(shapes: Shapes) -> int:
    return next((shape[1] for key, shape in shapes.items() if key.endswith("attn2.to_k.weight")), 0)


def _linear_projection(shapes: Shapes) -> bool:
    return any(len(shape) == 2 for key, shape in shapes.items() if key.endswith(".proj_in.weight"))


_RULES: dict[str, Callable[[Shapes], bool]] = {  # the first that fits
    "SDXL refiner": lambda shapes: "label_emb.0.0.weight" in shapes and _context(shapes) == 1280,
    "SD2 unCLIP": lambda shapes: "label_emb.0.0.weight" in shapes and _context(shapes) == 1024,
    "SDXL": lambda shapes: "label_emb.0.0.weight" in shapes,
    "SD2": _linear_projection,
    "SD1": lambda shapes: True,
}
