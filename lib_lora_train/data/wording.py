"""What training makes of a caption each time it is used: wildcards, order and dropout of tags. No global randomness."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..settings.schema import CaptionSettings

_MOST = 64  # texts that one caption may become and still be encoded ahead
Choose = Callable[[Sequence[str]], str]
Edit = Callable[[list[str]], list[str]]


@dataclass(frozen=True)
class When:
    """When in a run a caption is used: epoch (from 1), optimiser steps done, steps of the whole run."""

    epoch: int = 1
    step: int = 0
    steps: int = 0


def process(caption: str, settings: CaptionSettings, rng: random.Random, when: When = When()) -> str:
    """The caption of one sample. Draws from `rng`, in this order: dropout, line, wildcards, shuffle, one per tag.

    Method: golden 03_captions, which `caption_rule` "sd-scripts" follows to the letter; docs/differences.md says what
    "tidy" does otherwise.
    """
    if _dropped(settings, rng, when):
        return ""
    return _RULES[settings.caption_rule](caption, settings, rng.choice, lambda free: _edited(free, settings, rng, when))


def variants(caption: str, settings: CaptionSettings) -> list[str] | None:
    """All texts that `process` can give for a caption; None when they are too many to list, or change with the step."""
    if _edits(settings):
        return None
    rule = _RULES[settings.caption_rule]
    found = _every(lambda choose: rule(caption, settings, choose, lambda free: free))
    drops = settings.caption_dropout_rate > 0 or settings.caption_dropout_every_n_epochs > 0
    return found if found is None else sorted(found | ({""} if drops else set()))


def _dropped(s: CaptionSettings, rng: random.Random, when: When) -> bool:
    if s.caption_dropout_rate > 0 and rng.random() < s.caption_dropout_rate:
        return True
    return s.caption_dropout_every_n_epochs > 0 and when.epoch % s.caption_dropout_every_n_epochs == 0


def _tidy(caption: str, s: CaptionSettings, choose: Choose, edit: Edit) -> str:
    """Prefix and suffix keep their places; separators never stay in the text, nor empty tags where tags are edited."""
    line = _line(caption, s, choose)
    prefix, text, suffix = (_wild(part, s, choose).strip() for part in (s.caption_prefix, line, s.caption_suffix))
    joint = s.caption_separator if s.caption_separator.isspace() else f"{s.caption_separator.strip()} "
    if _edits(s) or _marked(text, s):
        fixed, free, last = (_whole_tags(part, s) for part in _parts(text, s))
        if not _marked(text, s):
            fixed, free = free[: s.keep_tokens], free[s.keep_tokens :]
        text = joint.join(fixed + edit(free) + last)
    if s.secondary_separator:
        text = joint.join(part.strip() for part in text.split(s.secondary_separator))
    return _beside(_beside(prefix, text), suffix)


def _parts(text: str, s: CaptionSettings) -> tuple[str, str, str]:
    """(fixed at the beginning, free, fixed at the end) around the separator; further separators part tags."""
    if not _marked(text, s):
        return "", text, ""
    first, free, *more = text.split(s.keep_tokens_separator)
    return first, free, s.caption_separator.join(more)


def _tags(text: str, s: CaptionSettings) -> list[str]:
    return [tag.strip() for tag in text.split(s.caption_separator) if tag.strip()]


def _whole_tags(text: str, s: CaptionSettings) -> list[str]:
    """With weighted captions what stands in a bracket, `(red hat, smile:1.2)`, is one tag."""
    if not s.weighted_captions:
        return _tags(text, s)
    tags, depth = [""], 0
    for piece in re.split(rf"(\\.|[()\[\]]|{re.escape(s.caption_separator)})", text):
        depth = max(depth + (piece in ("(", "[")) - (piece in (")", "]")), 0)
        if piece == s.caption_separator and not depth:
            tags.append("")
        else:
            tags[-1] += piece
    return [tag.strip() for tag in tags if tag.strip()]


def _marked(text: str, s: CaptionSettings) -> bool:
    return bool(s.keep_tokens_separator) and s.keep_tokens_separator in text


def _beside(first: str, second: str) -> str:
    space = " " if first and second and second[0] not in ",.;:" else ""
    return first + space + second


def _like_sd_scripts(caption: str, s: CaptionSettings, choose: Choose, edit: Edit) -> str:
    """As sd-scripts does it (golden 03_captions), to compare with it."""
    text = (f"{s.caption_prefix} " if s.caption_prefix else "") + caption
    text += f" {s.caption_suffix}" if s.caption_suffix else ""
    text = _wild(_line(text, s, choose), s, choose)
    if _edits(s):
        if _marked(text, s):
            first, free, last = ([*text.split(s.keep_tokens_separator, 2), ""])[:3]
            fixed, free, last = _tags(first, s), _tags(free, s), _tags(last, s)
        else:
            every = [tag.strip() for tag in text.strip().split(s.caption_separator)]
            fixed, free, last = every[: s.keep_tokens], every[s.keep_tokens :], []
        text = ", ".join(fixed + edit(free) + last)
    return text.replace(s.secondary_separator, s.caption_separator) if s.secondary_separator else text


_RULES: dict[str, Callable[[str, CaptionSettings, Choose, Edit], str]] = {
    "tidy": _tidy,
    "sd-scripts": _like_sd_scripts,
}


def _line(caption: str, s: CaptionSettings, choose: Choose) -> str:
    """With wildcards a line by chance, else the first."""
    lines = caption.split("\n")
    return choose(lines) if s.enable_wildcard and len(lines) > 1 else lines[0]


def _wild(text: str, s: CaptionSettings, choose: Choose) -> str:
    """`{a|b}` becomes one of its parts; doubled braces are braces. Not nested."""
    if not s.enable_wildcard:
        return text
    hidden = text.replace("{{", "\0(").replace("}}", "\0)")
    chosen = re.sub(r"\{([^}]+)\}", lambda found: choose(found[1].split("|")), hidden)
    return chosen.replace("\0(", "{").replace("\0)", "}")


def _edits(s: CaptionSettings) -> bool:
    """Whether tags are handled one by one."""
    return s.shuffle_caption or s.caption_tag_dropout_rate > 0 or s.token_warmup_step > 0


def _edited(free: list[str], s: CaptionSettings, rng: random.Random, when: When) -> list[str]:
    """The tags that may move and go: only the first ones during warm-up, then shuffled, then each perhaps dropped."""
    warm = s.token_warmup_step if s.token_warmup_step >= 1 else int(s.token_warmup_step * when.steps)
    if warm and when.step < warm:
        free = free[: int(when.step * (len(free) - s.token_warmup_min) // warm) + s.token_warmup_min]
    free = list(free)
    if s.shuffle_caption:
        rng.shuffle(free)
    if s.caption_tag_dropout_rate > 0:
        free = [tag for tag in free if rng.random() >= s.caption_tag_dropout_rate]
    return free


def _every(make: Callable[[Choose], str]) -> set[str] | None:
    """What `make` gives for all ways its choices can fall; None when these are very many."""
    todo: list[tuple[int, ...]] = [()]
    found: set[str] = set()
    tried = 0
    while todo:
        path, made = todo.pop(), []

        def choose(options: Sequence[str], path: tuple[int, ...] = path, made: list = made) -> str:
            index = path[len(made)] if len(made) < len(path) else 0
            made.append((index, len(options)))
            return options[index]

        found.add(make(choose))
        tried += 1
        taken = tuple(index for index, _ in made)
        for at in range(len(path), len(made)):
            todo += [(*taken[:at], other) for other in range(1, made[at][1])]
        if tried + len(todo) > _MOST:
            return None
    return found
