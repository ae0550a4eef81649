"""Names of LoRA files: what every file system and the prompt syntax `<lora:name:1>` can take."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path, PurePosixPath

from ..errors import SettingsError

SUFFIX = ".safetensors"
LONGEST_NAME = 100  # bytes in UTF-8; leaves room for `-step00000000.safetensors` and, on Windows, for the run folder
LONGEST_FOLDER = 100

_FORBIDDEN = re.compile(r'[<>:"/\\|?*]')  # Windows, and the prompt syntax
_NUMBERS = "0123456789\u00b9\u00b2\u00b3"  # superscripts are reserved too
RESERVED = {"con", "prn", "aux", "nul", "conin$", "conout$"} | {f"{d}{n}" for d in ("com", "lpt") for n in _NUMBERS}


def check_name(output_name: str) -> str:
    """The name to use: trimmed, without a typed `.safetensors`, in composed Unicode.

    Raises SettingsError(field `output_name`) for what some file system or the prompt syntax cannot take.
    """
    name = unicodedata.normalize("NFC", output_name).strip()
    if name.lower().endswith(SUFFIX):
        name = name[: -len(SUFFIX)].rstrip()
    problem = _problem(name, LONGEST_NAME)
    if problem:
        raise SettingsError(f"The name {_shown(output_name)} {problem[0]}", problem[1], "output_name")
    return name


def check_folder(output_folder: str) -> PurePosixPath:
    """Sub-folder of the LoRA folder; empty stays empty. Both kinds of slashes separate.

    Raises SettingsError(field `output_folder`): an absolute path, `..`, or a part that is no good name.
    """
    text = unicodedata.normalize("NFC", output_folder).strip().replace("\\", "/")
    if text.startswith("/") or re.match(r"[A-Za-z]:", text):
        raise SettingsError(
            f"The sub-folder {_shown(output_folder)} is a path of its own.",
            "Give a folder inside the web UI's LoRA folder, such as `characters`.",
            "output_folder",
        )
    parts = [part.strip() for part in text.split("/") if part.strip() not in ("", ".")]
    for part in parts:
        problem = _problem(part, LONGEST_FOLDER)
        if problem:
            raise SettingsError(f"The sub-folder {_shown(part)} {problem[0]}", problem[1], "output_folder")
    if len("/".join(parts).encode()) > LONGEST_FOLDER:
        raise SettingsError(
            f"The sub-folder {_shown(output_folder)} is too long.", "Use fewer or shorter folders.", "output_folder"
        )
    return PurePosixPath(*parts)


def lora_path(lora_dir: Path, output_name: str, output_folder: str = "") -> Path:
    """Where the LoRA goes. Raises SettingsError as `check_name` and `check_folder`."""
    name = check_name(output_name)
    return lora_dir.joinpath(*check_folder(output_folder).parts, name + SUFFIX)


def successor(path: Path, number: int) -> Path:
    """`name-2.safetensors` for number 2; the name is cut where both would not fit. Number 1 is `path` itself."""
    if number == 1:
        return path
    ending = f"-{number}"
    stem = path.name.removesuffix(SUFFIX).encode()[: LONGEST_NAME - len(ending)].decode(errors="ignore").rstrip(" .")
    return path.with_name(stem + ending + SUFFIX)


def _problem(name: str, longest: int) -> tuple[str, str] | None:
    """(what is wrong, remedy), None when nothing is."""
    plain = "Use letters, digits, spaces, `-`, `_` and `.`."
    forbidden = "".join(_FORBIDDEN.findall(name))
    size = len(name.encode(errors="replace"))
    rules = (
        (not name, "is empty.", "Give it a name."),
        (bool(forbidden), f"has {forbidden} in it.", f"Leave that out. {plain}"),
        (any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in name), "has invisible characters.", plain),
        (name.startswith("."), "begins with a dot, so it would be hidden.", "Take the dot away."),
        (name.endswith("."), "ends with a dot, which Windows drops.", "Take the dot away."),
        (name.split(".")[0].strip().lower() in RESERVED, "is reserved by Windows.", "Add a letter or a digit."),
        (size > longest, f"is too long ({size} bytes).", f"At most {longest}; letters beyond a-z take 2 to 4 each."),
    )
    return next(((what, remedy) for wrong, what, remedy in rules if wrong), None)


def _shown(name: str) -> str:
    cut = name if len(name) <= 40 else name[:40] + "..."
    return repr(cut)
