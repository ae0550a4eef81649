"""What the web UIs of A1111's line have in common: lock, loan, files, pictures. What differs is a `kind.Kind`."""

from .host import WebUIHost

__all__ = ["WebUIHost"]
