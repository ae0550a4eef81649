"""Puts the demo checkpoint where a web UI finds it, with the yaml and the CLIP folder that LDM code needs beside it."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from .make_model import SIZES
from .tiny import clip_folder

CHECKPOINT = Path(__file__).with_name("demo-sd1.safetensors")
_BLANK = "CLIP_FOLDER"  # in the yaml that is shipped


def put(folder: Path, checkpoint: Path = CHECKPOINT) -> Path:
    """`folder` is a web UI's `models/Stable-diffusion`. Nothing is downloaded; the vocabulary is in the project.

    The yaml names the CLIP folder by its absolute path, so run this again after moving it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clip = folder / f"{checkpoint.stem}-clip"
    clip_folder(clip, SIZES)
    target = folder / checkpoint.name
    if target.resolve() != checkpoint.resolve():
        shutil.copyfile(checkpoint, target)
    yaml = checkpoint.with_suffix(".yaml").read_text(encoding="utf-8")
    target.with_suffix(".yaml").write_text(
        yaml.replace(f"version: {_BLANK}", f"version: {json.dumps(str(clip.resolve()))}"), encoding="utf-8"
    )
    return target


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m demo.make_host_files", description=__doc__)
    parser.add_argument("folder", type=Path, help="the web UI's models/Stable-diffusion")
    print(put(parser.parse_args().folder))
