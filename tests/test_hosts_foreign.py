"""In programs we do not know the tab says what is missing: the script itself, in its own process, in their layout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("gradio")
LOAD = Path(__file__).with_name("foreign_load.py")
CALLBACKS = {"modules/__init__.py": "", "modules/script_callbacks.py": ""}
EMPTY = {f"modules/{name}.py": "" for name in ("shared", "paths", "call_queue", "devices", "processing", "sd_models")}
LAYOUTS = {  # files by path; what the message has to name
    "nothing but callbacks": ({}, "no web UI that Train LoRA knows"),
    "modules that fail when they load": (
        {
            **EMPTY,
            "modules/shared.py": "opts = cmd_opts = None",
            "modules/devices.py": "raise RuntimeError('no device')",
            "modules/sd_models.py": "import sys; sys.modules[__name__] = object()",
        },
        "modules.devices.device",
    ),
    "nothing that loads": (
        {f"modules/{name}.py": "raise RuntimeError('no settings')" for name in ("shared", "paths")},
        "no web UI that Train LoRA knows",
    ),
    "ComfyUI's way of 2024": (
        {**EMPTY, "modules_forge/__init__.py": "", "ldm_patched/__init__.py": ""},
        "an older Forge or reForge",
    ),
    "SD.Next": ({**EMPTY, "modules/modeldata.py": "raise ImportError('heavy')"}, "diffusers' pipelines"),
}


def loaded(folder: Path, python: str = sys.executable) -> dict:
    """What a user gets there. A traceback anywhere fails."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [python, str(LOAD), str(folder)], capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.returncode == 0 and "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def explains_itself(found: dict, named: str) -> None:
    assert found["tabs"] == ["Train LoRA"]
    assert named in found["status"]["problem"], found["status"]
    assert "Forge Neo" in found["status"]["remedy"]
    assert found["code"] == 409 and found["start"]["error"] == found["status"]["problem"]


@pytest.mark.parametrize(("files", "named"), LAYOUTS.values(), ids=LAYOUTS)
def test_the_tab_says_what_is_missing(tmp_path: Path, files: dict[str, str], named: str):
    for name, text in {**CALLBACKS, **files}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    explains_itself(loaded(tmp_path), named)


@pytest.mark.host
def test_in_a_real_foreign_program():
    """FOREIGN_DIR: its folder; FOREIGN_PYTHON: one that can import its modules; FOREIGN_SAYS: what must be named."""
    if "FOREIGN_DIR" not in os.environ:
        pytest.skip("needs another program's folder: FOREIGN_DIR, FOREIGN_PYTHON, FOREIGN_SAYS")
    folder, python = Path(os.environ["FOREIGN_DIR"]), os.environ.get("FOREIGN_PYTHON", sys.executable)
    explains_itself(loaded(folder, python), os.environ.get("FOREIGN_SAYS", ""))
