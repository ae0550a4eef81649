"""`<lora:name:weight>` in prompts, with A1111's meaning, for hosts that draw by our own sampler."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..adapters.build import from_tensors
from ..adapters.load import read
from ..errors import HostError
from ..families.loan import Loan

_TAG = re.compile(r"<lora:([^:>]+)(?::([^:>]*))?(?::([^:>]*))?>")


def without_tags(prompt: str) -> str:
    """The words alone."""
    return _TAG.sub("", prompt).strip()


@contextmanager
def attached(loan: Loan, prompt: str, files: Mapping[str, Path]) -> Iterator[None]:
    """Inside the block the LoRAs that `prompt` names hang on `loan`; `<lora:name:text encoder:U-Net>` has two weights.

    Raises HostError for an unknown name or a weight that is no number, SettingsError for a file that does not fit.
    """
    with ExitStack() as stack:
        for name, text, unet in _TAG.findall(prompt):
            if name not in files:
                raise HostError(f"There is no LoRA named {name}.", f"Known are: {', '.join(files) or 'none'}.")
            adapters = from_tensors(loan, read(files[name]))
            strength = _weight(text, 1.0)
            adapters.multipliers = {"text_encoder": strength, "unet": _weight(unet, strength)}
            adapters.attach()
            stack.callback(adapters.detach)
        yield


def _weight(text: str, otherwise: float) -> float:
    try:
        return float(text) if text else otherwise
    except ValueError as error:
        raise HostError(f"{text!r} is not a weight of a LoRA.", "Write it like <lora:name:0.8>.") from error
