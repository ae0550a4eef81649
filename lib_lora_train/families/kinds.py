"""What tells families apart in their tensors: facts about U-Net and text encoders that no shape shows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class UnetKind:
    heads: int = 0  # of every attention; 0: the wider a level, the more of them
    head_width: int = 64  # channels per head where `heads` is 0
    convolutions: bool = False  # around attention blocks, also where the checkpoint has linear layers


@dataclass(frozen=True)
class TextKind:
    prefix: str  # of its keys in a checkpoint file
    activation: str = "quick_gelu"
    pad: int | None = None  # what its tokenizer fills up with; None: the end token
    pooled: bool = False  # whether its projection is used
    surplus: int = 0  # last layers of an OpenCLIP encoder that the family does not use

    @property
    def is_openclip(self) -> bool:
        """In checkpoint files."""
        return self.prefix.endswith(".model.")
