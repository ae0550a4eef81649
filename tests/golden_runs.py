"""The reference's whole runs (golden 07_training_runs) as ours: their pictures on disk, their options as a recipe."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import golden_data
from PIL import Image

from lib_lora_train.settings import imports
from lib_lora_train.settings.load import from_mapping
from lib_lora_train.settings.schema import Settings


def runs() -> list[dict[str, Any]]:
    """Those of one data set whose last file tells what happened."""
    found = golden_data.facts("07_training_runs")["runs"]
    return [run for run in found if run["dataset_config_toml"] is None and "ss_steps" in metadata(run)]


def name(run: dict[str, Any]) -> str:
    return run["name"]


def metadata(run: dict[str, Any]) -> dict[str, str]:
    """Of the run's last file."""
    return list(run["files"].values())[-1].get("metadata", {})


def settings(run: dict[str, Any], root: Path) -> Settings:
    """The run's command line imported, over its pictures, which are made under `root`."""
    _make_tree(root, run["tree"])
    line = shlex.join(["train_network.py", *run["command_line_options"]]).replace("$ROOT", root.as_posix())
    return from_mapping({**imports.read("x", line, folders=True).settings, "bucket_rule": "sd-scripts"})


def _make_tree(root: Path, tree: dict[str, dict[str, Any]]) -> None:
    for folder, files in tree.items():
        (root / folder).mkdir(parents=True)
        for file, content in files.items():
            if isinstance(content, str):
                (root / folder / file).write_text(content, encoding="utf-8")
            else:
                Image.new("RGB", tuple(content)).save(root / folder / file)
