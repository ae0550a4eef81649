"""Where the reference numbers lie: `tests/golden`, or the folder of the same schema that GOLDEN_DIR names.

Where a file is missing, the tests that read it fail and name it; the others run.
"""

from __future__ import annotations

import json
import os
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
