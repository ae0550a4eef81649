"""Forge's web UI: where its tensors are and when they move, its LoRA patches, its pictures."""

from .host import ForgeHost

__all__ = ["ForgeHost"]
