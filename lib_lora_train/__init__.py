"""Train LoRA: bake a LoRA in the web UI's own process, on the checkpoint that is already loaded."""

__version__ = "0.1.0"
