"""Where the reference numbers lie: `tests/golden`, or the folder of the same schema that GOLDEN_DIR names."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

GOLDEN = Path(os.environ.get("GOLDEN_DIR") or Path(__file__).parent / "golden").absolute()


def facts(name: str) -> Any:
    """`<name>.json`; numbers that JSON lacks are the strings "Infinity", "-Infinity" and "NaN" there."""
    return json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))


def tensors(name: str) -> dict[str, Tensor]:
    """`<name>.safetensors`."""
    return load_file(GOLDEN / f"{name}.safetensors")
