"""AUTOMATIC1111's web UI (LDM models): where its tensors are, its lock, its LoRAs, its pictures."""

from .host import A1111Host

__all__ = ["A1111Host"]
