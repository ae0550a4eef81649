"""The sample prompts of a recipe as requests; a line may end with options in sd-scripts' way (`--w 768 --d 7`)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..errors import SettingsError
from ..settings.schema import Settings, size_of
from .draw import SampleRequest

_OPTIONS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "n": ("negative", str),
    "w": ("width", int),
    "h": ("height", int),
    "d": ("seed", int),
    "s": ("steps", int),
    "l": ("cfg", float),
}
_SPLIT = re.compile(r"\s+--(?=[A-Za-z]+\s)")


def requests(settings: Settings, clip_skip: int) -> list[SampleRequest]:
    """One per line, each with a seed of its own that is the same in every row. Without any line the trigger word,
    which may be empty: what the LoRA does by itself. Raises SettingsError for options that cannot be understood."""
    lines = [line.strip() for line in settings.saving.sample_prompts.splitlines()]
    lines = [line for line in lines if line] or [settings.naming.trigger_word.strip()]
    width, height = size_of(settings.saving.sample_size.strip() or settings.data.resolution)
    saving = settings.saving
    plain = SampleRequest(
        prompt="",
        negative=saving.sample_negative,
        width=width,
        height=height,
        steps=saving.sample_steps,
        cfg=saving.sample_cfg,
        clip_skip=clip_skip,
    )
    return [parse(line, replace(plain, seed=(saving.sample_seed + i) % 2**32)) for i, line in enumerate(lines)]


def parse(line: str, plain: SampleRequest) -> SampleRequest:
    """`plain` with the line's prompt and options."""
    prompt, *options = _SPLIT.split(f" {line} ")
    changes: dict[str, Any] = {"prompt": prompt.strip()}
    for option in options:
        name, _, value = option.strip().partition(" ")
        if name not in _OPTIONS:
            raise _refused(f"--{name}", f"There are {', '.join(f'--{known}' for known in _OPTIONS)}.")
        field, kind = _OPTIONS[name]
        changes[field] = _value(name, value.strip(), kind)
    return replace(plain, **changes)


def _value(name: str, text: str, kind: Callable[[str], Any]) -> Any:
    try:
        value = kind(text)
    except ValueError as error:
        raise _refused(f"--{name} {text}", "A number belongs there.") from error
    if kind is not str and not 0 <= value < 2**32:
        raise _refused(f"--{name} {text}", "The number is out of range.")
    return value


def _refused(option: str, remedy: str) -> SettingsError:
    return SettingsError(f"`{option}` in a sample prompt is not understood.", remedy, "sample_prompts")
