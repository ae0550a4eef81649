"""Tools for finished LoRA files."""
