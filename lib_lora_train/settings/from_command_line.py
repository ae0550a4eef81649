"""sd-scripts' command lines, out of a terminal, a shell script, a batch file or PowerShell, as its options."""

from __future__ import annotations

import re
from typing import Any

from ..errors import SettingsError
from .found import Found, shown
from .from_sd_options import whole

_SCRIPT = re.compile(r"([\w.-]*?)train\w*\.py$")
_TRAINS_LORA = {"train_network.py", "sdxl_train_network.py"}
_LISTS = {"network_args", "optimizer_args", "lr_scheduler_args", "base_weights", "base_weights_multiplier"}
_COMMENT = re.compile(r"^\s*(#|::|rem\b|@(?!.*train))", re.IGNORECASE)
_GOES_ON = re.compile(r"[\\^`]?[ \t]*\r?\n(?=[ \t]*--[A-Za-z])|[\\^`][ \t]*\r?\n")  # no command begins with --
_SET = re.compile(r"^\s*(?:set\s+|export\s+)?[\"']?\$?(?:env:)?([A-Za-z_]\w*)[\"']?\s*=\s*(.*?)\s*$", re.IGNORECASE)
_USE = re.compile(r"\$\{(\w+)\}|\$(?:env:)?(\w+)|%(\w+)%", re.IGNORECASE)
_WINDOWS = re.compile(r"[\^`][ \t]*$|%\w+%|[A-Za-z]:\\", re.MULTILINE)
_LONGEST = 100_000  # characters
_FILES = ("config_file", "dataset_config")


def looks_like_one(text: str) -> bool:
    """A training script with options behind it, or nothing but options."""
    return bool(re.search(r"train\w*\.py", text)) or text.lstrip().startswith("--")


def read_command_line(text: str, folders: bool = False) -> Found:
    """Raises SettingsError: too long, an open quote, no options."""
    options, lost = options_of(text)
    found = whole(options, "sd-scripts", folders)
    return Found(found.settings, found.source, lost + found.not_carried, found.translated)


def options_of(text: str) -> tuple[dict[str, Any], list[str]]:
    """(options by name, each a text, "True" for a flag, a list for one that takes several; what cannot be read)."""
    if len(text) > _LONGEST:
        raise SettingsError("The command line is too long.", "Import only the command that starts the training.")
    words, lost = _command(_split(_expanded(text), bool(_WINDOWS.search(text))))
    options: dict[str, Any] = {}
    name = ""
    for word in words:
        if re.match(r"--[A-Za-z]", word):
            name, equals, value = word[2:].partition("=")
            name = name.replace("-", "_")
            options[name] = [value] if equals else []
        elif name:
            options[name].append(word)
    if not options:
        raise SettingsError("There are no options in this command line.", "Copy it from `accelerate launch` on.")
    for name in _FILES:
        if options.get(name):
            lost.append(shown(name, " ".join(options.pop(name)), "import that file as well"))
    return {name: _value(name, values) for name, values in options.items()}, lost


def _value(name: str, values: list[str]) -> Any:
    if name in _LISTS:
        return values
    return " ".join(values) if values else "True"


def _command(words: list[str]) -> tuple[list[str], list[str]]:
    """What stands behind the first training script, up to the next command; (words, what is lost)."""
    for index, word in enumerate(words):
        script = re.split(r"[/\\]", word)[-1]
        if _SCRIPT.fullmatch(script):
            lost = [] if script in _TRAINS_LORA else [shown("script", script, "made for other models or no LoRA")]
            rest = words[index + 1 :]
            end = next((i for i, w in enumerate(rest) if w in ("&&", ";", "|", "&", "||", "\n")), len(rest))
            return rest[:end], lost
    return [word for word in words if word != "\n"], []


def _expanded(text: str) -> str:
    """One command per line, without comments, with the script's own variables put in."""
    values: dict[str, str] = {}
    lines = []
    for line in _GOES_ON.sub(" ", text).splitlines():
        if _COMMENT.match(line):
            continue
        line = _USE.sub(lambda use: values.get(next(g for g in use.groups() if g).lower(), use[0]), line)
        given = _SET.match(line)
        if given and "--" not in given[2]:
            values[given[1].lower()] = _assigned(given[2])
        else:
            lines.append(line)
    return "\n".join(lines)


def _assigned(text: str) -> str:
    """A variable's value, one word: texts put together by PowerShell (`"a" + "b"`) too, and no quote left open."""
    value = re.sub(r"\"\s*\+\s*\"", "", text.split(" #")[0]).strip().strip("\"'")[:1000]
    return value.replace('"', "") if value.count('"') % 2 else value


def _split(text: str, windows: bool) -> list[str]:
    """Words as a shell sees them; a line's end is a word of its own. Windows' backslashes are letters."""
    words: list[str] = []
    word, quote, begun = "", "", False
    letters = iter(text)
    for letter in letters:
        if quote:
            if letter == quote:
                quote = ""
            elif letter == "\\" and not windows and quote == '"':
                word += next(letters, "")
            else:
                word += letter
        elif letter in "\"'":
            quote, begun = letter, True
        elif letter == "\\" and not windows:
            word, begun = word + next(letters, ""), True
        elif letter.isspace():
            words += ([word] if begun or word else []) + (["\n"] if letter == "\n" else [])
            word, begun = "", False
        else:
            word += letter
    if quote:
        raise SettingsError(f"A quotation mark {quote} is not closed.", "Copy the whole command line.")
    return words + ([word] if begun or word else [])
