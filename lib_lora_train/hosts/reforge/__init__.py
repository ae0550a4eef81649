"""reForge: A1111's way to choose and load a model, Forge's way to hold it."""

from .host import ReForgeHost

__all__ = ["ReForgeHost"]
