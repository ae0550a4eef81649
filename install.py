"""Adds missing packages before the web UI starts; never changes one that is installed. Standard library, and pip's own.

Silent and quick when nothing is missing; without network, or when a package fits nothing installed here, it says so in
one line and the web UI starts all the same.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent

# What a package's own metadata does not say: (installed package, below this version, requirement then).
# diffusers 0.36 reads `torch.xpu`, which torch has since 2.4.
LIMITS = (("torch", (2, 4), "diffusers<0.36"),)


def requirements(pyproject: Path) -> list[str]:
    """pyproject.toml's dependencies. Python 3.10 has no TOML reader, but that list is also a list of Python's."""
    text = pyproject.read_text(encoding="utf-8")
    found = re.search(r"^dependencies\s*=\s*(\[.*?^\])", text, re.MULTILINE | re.DOTALL)
    return ast.literal_eval(found.group(1)) if found else []


def missing(wanted: list[str]) -> list[str]:
    """Those of `wanted` whose package is not there at all. One of another version counts as there: it is the user's."""
    return [line for line in wanted if _applies(line) and _version(_name(line)) is None]


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
    limits = [rule for package, below, rule in LIMITS if _numbers(installed.get(package)) < below]
    return [f"{name}=={version}" for name, version in sorted(installed.items())] + [
        rule for rule in limits if _name(rule) not in installed
    ]


def _numbers(version: str | None) -> tuple[int, ...]:
    """(2, 1) of `2.1.2+cu121`; of nothing something that is below no limit."""
    found = re.match(r"(\d+)\.(\d+)", version or "")
    return (int(found.group(1)), int(found.group(2))) if found else (10**9,)


def installer() -> list[str]:
    """pip of this Python, or uv where an environment was made without pip. Empty when there is neither."""
    if importlib.util.find_spec("pip"):
        quiet = ["--disable-pip-version-check", "--no-input", "--retries", "1", "--timeout", "20"]
        return [sys.executable, "-m", "pip", "install", "--quiet", "--prefer-binary", *quiet]
    uv = shutil.which("uv")
    return [uv, "pip", "install", "--quiet", "--python", sys.executable] if uv else []


def install(wanted: list[str]) -> str:
    """Install under `constraints`; "" or the last lines of what went wrong."""
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
    return "" if run.returncode == 0 else "\n".join(run.stdout.strip().splitlines()[-6:])


def main() -> None:
    absent = missing(requirements(ROOT / "pyproject.toml"))
    if not absent:
        return
    print(f"Train LoRA: adding {', '.join(_name(line) for line in absent)}", flush=True)
    trouble = install(absent)
    if trouble and len(absent) > 1:  # one that fits nothing must not keep the others away
        trouble = "\n".join(filter(None, (install([line]) for line in absent)))
    if trouble:
        print(f"Train LoRA could not add everything; its tab says what is missing. {trouble}", flush=True)


if __name__ == "__main__":
    main()
