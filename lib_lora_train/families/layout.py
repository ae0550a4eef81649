"""What a key map is: the configuration of a module class and, for each of its parameters, the checkpoint's key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import HostError

Shapes = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Layout:
    """`config` builds the module; `names` gives for every canonical parameter name the key it is borrowed from.

    Canonical names are ours, written down in the key maps of this room: diffusers' names for U-Net and VAE, names
    beginning with `text_model.` for CLIP, whatever the installed libraries call their parameters.
    """

    config: dict[str, Any]
    names: dict[str, str]


def need(shapes: Shapes, key: str, what: str) -> Sequence[int]:
    """The shape of `key`; raises HostError when the checkpoint has no such tensor."""
    if key not in shapes:
        raise HostError(
            f"The {what} of this checkpoint has no `{key}`.", "Load an ordinary Stable Diffusion checkpoint."
        )
    return shapes[key]


def children(names: Mapping[str, Any], prefix: str) -> list[str]:
    """The distinct path components right below `prefix`, numbers in their order."""
    found = {name[len(prefix) + 1 :].split(".", 1)[0] for name in names if name.startswith(f"{prefix}.")}
    return sorted(found, key=lambda part: (0, int(part), "") if part.isdigit() else (1, 0, part))
