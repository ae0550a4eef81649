"""Adds missing packages before the web UI starts; never changes one that is installed. Standard library, and pip's own.

Silent and quick when nothing is missing; without network, or when a package fits nothing installed here, it says so in
one line and the web UI starts all the same.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import shutil
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent

# What a package's own metadata does not say: (installed package, below this version, requirement then).
# diffusers 0.36 reads `torch.xpu`, which torch has since 2.4; 0.37 a class that transformers has since 4.48.
LIMITS = (("torch", (2, 4), "diffusers<0.36"), ("transformers", (4, 48), "diffusers<0.37"))


def requirements(pyproject: Path) -> list[str]:
    """pyproject.toml's dependencies. Python 3.10 has no TOML reader, but that list is also a list of Python's."""
    text = pyproject.read_text(encoding="utf-8")
    found = re.search(r"^dependencies\s*=\s*(\[.*?^\])", text, re.MULTILINE | re.DOTALL)
    return ast.literal_eval(found.group(1)) if found else []


def missing(wanted: list[str]) -> list[str]:
    """Those of `wanted` whose package is not there at all. One of another version counts as there: it is the user's."""
    return [line for line in wanted if _applies(line) and _version(_name(line)) is None]


def outside(wanted: list[str]) -> list[tuple[str, str, str]]:
    """(package, its version, what Train LoRA is made for) of those of `wanted`, and of LIMITS, that are there in
    another version: `("diffusers", "0.25.1", ">=0.31,<1")`. They stay as they are: somebody may need them so."""
    found = []
    for line in [*filter(_applies, wanted), *_limits(_version)]:
        name, version = _name(line), _version(_name(line))
        rules = line.partition(";")[0][len(name) :].strip()
        if version and not all(_keeps(version, rule) for rule in rules.split(",") if rule):
            found.append((name, version, rules))
    return found


def _limits(version_of: Callable[[str], str | None]) -> list[str]:
    """LIMITS that hold for what is installed."""
    versions = ((version_of(package), below, rule) for package, below, rule in LIMITS)
    return [rule for version, below, rule in versions if version and _release(version) < below]


def _keeps(version: str, rule: str) -> bool:
    """Whether `0.31.0` keeps `>=0.31` or `<1`, the only kinds that the list holds."""
    found = re.fullmatch(r"\s*(>=|<)\s*([\d.]+)\s*", rule)
    if found is None:
        raise ValueError(f"install.py does not understand {rule!r}")
    newer = _release(version) >= _release(found.group(2))
    return newer if found.group(1) == ">=" else not newer


def _release(version: str) -> tuple[int, ...]:
    """(2, 1) of `2.1.0+cu121`: equal versions compare equal whether they end with zeros or not."""
    numbers = [int(part) for part in re.match(r"[\d.]*", version).group().split(".") if part]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def _name(requirement: str) -> str:
    return re.match(r"[A-Za-z0-9._-]+", requirement).group()


def _applies(requirement: str) -> bool:
    """Evaluates the one kind of marker that the list may hold: `python_version<'3.11'`."""
    _, _, marker = requirement.partition(";")
    if not marker.strip():
        return True
    found = re.fullmatch(r"\s*python_version\s*(<|>=)\s*['\"](\d+)\.(\d+)['\"]\s*", marker)
    if found is None:
        raise ValueError(f"install.py does not understand the marker in {requirement!r}")
    older = sys.version_info[:2] < (int(found.group(2)), int(found.group(3)))
    return older if found.group(1) == "<" else not older


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def constraints() -> list[str]:
    """`name==version` of everything installed, and LIMITS: under these pip can only add."""
    installed = {}
    for found in metadata.distributions():
        name, version = found.metadata["Name"], found.version
        if name and version and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) and re.match(r"\d", version):
            installed.setdefault(re.sub(r"[-_.]+", "-", name).lower(), version)
    return [f"{name}=={version}" for name, version in sorted(installed.items())] + [
        rule for rule in _limits(installed.get) if _name(rule) not in installed
    ]


def installer() -> list[str]:
    """pip of this Python, or uv where an environment was made without pip. Empty when there is neither."""
    if importlib.util.find_spec("pip"):
        quiet = ["--disable-pip-version-check", "--no-input", "--retries", "1", "--timeout", "20"]
        return [sys.executable, "-m", "pip", "install", "--quiet", "--prefer-binary", *quiet]
    uv = shutil.which("uv")
    return [uv, "pip", "install", "--quiet", "--python", sys.executable] if uv else []


def install(wanted: list[str]) -> str:
    """Install under `constraints`; "" or what pip said when it went wrong."""
    import subprocess
    import tempfile

    command = installer()
    if not command:
        return "There is neither pip nor uv."
    with tempfile.TemporaryDirectory() as folder:
        pins = Path(folder) / "constraints.txt"
        pins.write_text("\n".join(constraints()), encoding="utf-8")
        run = subprocess.run(  # noqa: S603
            [*command, "-c", str(pins), *wanted],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    return "" if run.returncode == 0 else run.stdout.strip() or f"The installer ended with {run.returncode}."


def unreachable(said: str) -> bool:
    """Whether pip or uv failed for want of a network: trying again would wait as long again."""
    return any(sign in said for sign in ("connection broken by", "Failed to fetch", "error sending request"))


def main() -> None:
    absent = missing(requirements(ROOT / "pyproject.toml"))
    if not absent:
        return
    print(f"Train LoRA: adding {', '.join(_name(line) for line in absent)}", flush=True)
    trouble = install(absent)
    if unreachable(trouble):
        trouble = "No package index can be reached."
    elif trouble and len(absent) > 1:  # one that fits nothing must not keep the others away
        trouble = "\n".join(filter(None, (install([line]) for line in absent)))
    if trouble:
        end = "\n".join(trouble.splitlines()[-6:])
        _say(f"Train LoRA could not add everything; its tab says what is missing. {end}")


def _say(text: str) -> None:
    """To a console that may know few letters; an error's text may hold any."""
    encoding = sys.stdout.encoding or "ascii"
    print(text.encode(encoding, "replace").decode(encoding), flush=True)


if __name__ == "__main__":
    try:
        main()
    except OSError as error:  # a full disk, no rights to write, no process to be had: the web UI starts all the same
        _say(f"Train LoRA could not add its packages; its tab says what is missing. {error}")
