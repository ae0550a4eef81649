"""Where the reference numbers lie: `tests/golden`, or the folder of the same schema that GOLDEN_DIR names.

Where a file is missing, the tests that read it fail and name it; the others run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

GOLDEN = Path(os.environ.get("GOLDEN_DIR") or Path(__file__).parent / "golden").absolute()


def path(name: str) -> Path:
    """A file of the folder. Raises FileNotFoundError naming it."""
    found = GOLDEN / name
    if not found.is_file():
        raise FileNotFoundError(f"The golden folder {GOLDEN} has no {name}.")
    return found


def facts(name: str) -> Any:
    """`<name>.json`; numbers that JSON lacks are the strings "Infinity", "-Infinity" and "NaN" there."""
    return json.loads(path(f"{name}.json").read_text(encoding="utf-8"))


def tensors(name: str) -> dict[str, Tensor]:
    """`<name>.safetensors`."""
    return load_file(path(f"{name}.safetensors"))


def cases(name: str, pick: Callable[[Any], Any]) -> list[Any]:
    """What a test is parametrised with, `pick` out of `<name>.json`: a list, or a mapping's items.

    Where the file is missing, one case that fails when it is used, so that the rest of the tests run.
    """
    try:
        found = pick(facts(name))
    except FileNotFoundError as error:
        return [Missing(str(error))]
    return list(found.items()) if isinstance(found, dict) else list(found)


class Missing:
    """Stands for a case of a file that is not there: any use of it fails with the file's name."""

    def __init__(self, why: str):
        self._why = why

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # pytest looks at a parameter to name it
            raise AttributeError(name)
        raise FileNotFoundError(self._why)

    def __getitem__(self, key: Any) -> Any:
        raise FileNotFoundError(self._why)

    def __iter__(self) -> Any:
        raise FileNotFoundError(self._why)
