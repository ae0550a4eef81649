"""Another golden folder of the same schema: half of the cases in reverse, so that no test can lean on one of them.

`python tests/golden_other.py OUT even|odd`; then `GOLDEN_DIR=OUT python dev.py test -m golden`.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent / "golden"
# Lists of independent cases; other lists are one value, or run in parallel with another.
LISTS = {
    "adjust_min_max", "assignments", "base_model_hashes", "block_dims_and_alphas", "block_lr_weights", "bucket_lists",
    "build_minimum_network_metadata", "caption_files", "cases", "different_group_rates", "file_names", "forward",
    "hashes", "lora_dropout", "module_names_by_preset", "names", "networks", "optimizer_groups",
    "parse_prompt_attention", "parsing_of_lr_warmup_steps", "remove_blocks_without_lr", "runs", "sample_counts",
    "sdxl_size_embeddings", "tokenized",
}  # fmt: skip
HALVES = {"even": 0, "odd": 1}


def make(out: Path, half: str) -> Path:
    """Writes the folder `out`, which must not be there yet; gives it."""
    shutil.copytree(HERE, out)
    for path in out.glob("**/*.json"):
        path.chmod(0o644)
        facts = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps(_halved(facts, HALVES[half])), encoding="utf-8")
    return out


def _halved(value: Any, first: int) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: _cases(entry, first) if name in LISTS else _halved(entry, first) for name, entry in value.items()}


def _cases(entry: Any, first: int) -> Any:
    """A list of cases, or of one alone that stays."""
    if not isinstance(entry, list) or len(entry) < 2:
        return entry
    return entry[first::2][::-1]


if __name__ == "__main__":
    print(make(Path(sys.argv[1]), sys.argv[2]))
