"""What the extension loads while the web UI starts: our own modules, none of the heavy libraries a run needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
CODE = """
import sys
from lib_lora_train.app.routes import add_routes
from lib_lora_train.hosts.detect import host
print(*sorted({name.split(".")[0] for name in sys.modules}))
"""


def test_no_heavy_library_is_loaded_before_it_is_needed():
    found = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    loaded = set(found.split())
    assert "lib_lora_train" in loaded and "torch" in loaded, "every web UI has torch"
    assert not loaded & {"diffusers", "transformers", "bitsandbytes", "gradio", "scipy", "cv2", "accelerate", "peft"}
