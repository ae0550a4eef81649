"""`python -m lib_lora_train`: the command line."""

from __future__ import annotations

import sys

from lib_lora_train.app.cli import main

if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")  # a console that cannot show a LoRA's name
    sys.exit(main())
