"""What a developer runs on a bare machine with Python 3.11 or newer: `python dev.py test|demo|docs|lint|lock`.

Standard library only. The first call makes `.venv` from requirements.lock, `test` also `.venvs/a1111` and
`.venvs/forge` from tests/pins/; later calls reuse them until the lock changes.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent
TORCH = "torch==2.13.0"  # for all environments: the web UIs' own (2.1.2, 2.3.1) has no wheels for current Pythons
# What has to hold on the web UIs' versions too; the rest of the suite runs on current releases only.
COMPAT_TESTS = (
    "tests/test_compat.py",
    "tests/test_settings.py",
    "tests/test_families_borrow.py",
    "tests/test_export_lora_file.py",
    "tests/test_ui_tab.py",
    "tests/test_ui_standalone.py",
    "tests/browser/test_compat_page.py",
    "tests/browser/test_flow.py",
)
# Beside pyproject.toml's list: what libraries look for in a web UI and what the tests need.
COMPAT_TOOLS = ("accelerate", "gradio", "httpx", "hypothesis", "playwright", "protobuf", "psutil", "pytest")
COMPAT_TOOLS += ("pytest-timeout", "pytest-xdist", "uvicorn")


@dataclass(frozen=True)
class Environment:
    """A virtual environment in `folder`, made from `lock`. `pins`: a web UI's versions, which its lock keeps to."""

    folder: Path
    lock: Path
    pins: Path | None = None
    also: tuple[str, ...] = ()

    @property
    def python(self) -> Path:
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    def made(self) -> Path:
        """Its Python; made anew when the lock or this Python changed."""
        wanted = hashlib.sha256(self.lock.read_bytes() + sys.version.encode()).hexdigest()
        stamp = self.folder / "made-from"
        if self.python.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
            return self.python
        print(f"Making {self.folder} from {self.lock.name} (minutes, once)", file=sys.stderr, flush=True)
        self.install("-r", self.lock)
        stamp.write_text(wanted, encoding="utf-8")
        return self.python

    def install(self, *what: str | Path) -> None:
        """Afresh. Not compiled ahead: most of what is installed is never imported."""
        shutil.rmtree(self.folder, ignore_errors=True)
        venv.create(self.folder, with_pip=True)
        pip = [self.python, "-m", "pip", "install", "--quiet", "--no-warn-script-location", "--no-compile"]
        subprocess.run([*pip, *what], check=True)

    def freeze(self) -> list[str]:
        """`name==version` of all but what only some machines have."""
        pip = [self.python, "-m", "pip", "freeze"]
        frozen = subprocess.run(pip, capture_output=True, text=True, check=True).stdout
        kept = (line.split("+")[0] for line in frozen.splitlines() if "@" not in line and not _of_the_card(line))
        return sorted(kept, key=str.lower)


def _of_the_card(line: str) -> bool:
    """torch's companions for graphics cards; which ones depends on where torch came from."""
    return line.startswith(("nvidia-", "cuda-", "triton"))


MAIN = Environment(ROOT / ".venv", ROOT / "requirements.lock")
_PINS = ROOT / "tests" / "pins"
WEB_UIS = {
    name: Environment(ROOT / ".venvs" / name, _PINS / f"requirements-{name}.lock", _PINS / f"{name}.txt", also)
    for name, also in (("a1111", ("diffusers<0.36",)), ("forge", ("peft",)))  # what install.py adds; what is there
}


def environment() -> Path:
    """The Python with current releases."""
    return MAIN.made()


def run(*command: str | Path, **extra_env: str) -> int:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "HF_HUB_OFFLINE": "1", **extra_env}
    env.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    if env.get("GOLDEN_DIR"):
        env["GOLDEN_DIR"] = str(Path(env["GOLDEN_DIR"]).absolute())  # as seen from where this was called
    return subprocess.run([str(c) for c in command], cwd=ROOT, env=env).returncode


def test(args: argparse.Namespace, rest: list[str]) -> int:
    """All tests, then those of compatibility on the web UIs' versions. What follows goes to pytest (-m golden, -k name,
    a file) and leaves the second part out, unless --compat asks for it."""
    python = environment()
    main_part = bool(rest) or not args.compat
    if not rest and main_part:
        code = run(python, "-m", "ruff", "check", ".") or run(python, "-m", "ruff", "format", "--check", "--quiet", ".")
        if code:
            return code
    workers = 0 if os.environ.get("WEBUI_DIR") else min(os.cpu_count() or 1, 4)
    parallel = ["-n", str(workers), "--dist", "loadfile"] if workers > 1 else []
    threads = {} if "OMP_NUM_THREADS" in os.environ else {"OMP_NUM_THREADS": "1"}
    code = run(python, "-m", "pytest", *parallel, "-ra", "--durations=10", *rest, **threads) if main_part else 0
    if rest and not args.compat:
        print("Left out: the compatibility part (--compat runs it).", file=sys.stderr)
        return code
    return max([code, *(_compat(name, [*parallel, *rest], threads) for name in WEB_UIS)])


def _compat(name: str, rest: list[str], threads: dict[str, str]) -> int:
    """COMPAT_TESTS on the versions of the web UI `name`; wheels for those are there for Python 3.10 and 3.11."""
    if sys.version_info[:2] != (3, 11):
        print(
            f"Left out: {name}'s versions, which need Python 3.11 (this is {sys.version.split()[0]}).", file=sys.stderr
        )
        return 1 if os.environ.get("CI") else 0
    web_ui = WEB_UIS[name]
    print(f"\nOn {name}'s versions ({web_ui.lock.relative_to(ROOT)}):", flush=True)
    options = ["-ra", "--durations=5", *rest]
    return run(web_ui.made(), "-m", "pytest", *options, *COMPAT_TESTS, **threads, TRAIN_LORA_PINS=str(web_ui.pins))


def demo(args: argparse.Namespace, rest: list[str]) -> int:
    """The stand-alone page on 127.0.0.1; with --headless --out DIR the same training without a page."""
    return run(environment(), "-m", "demo", *rest)


def docs(args: argparse.Namespace, rest: list[str]) -> int:
    """Write docs/options.md from the schema."""
    code = "from lib_lora_train.settings.describe import options_markdown as m; print(m(), end='')"
    made = subprocess.run([environment(), "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (ROOT / "docs" / "options.md").write_text(made, encoding="utf-8")
    return 0


def lint(args: argparse.Namespace, rest: list[str]) -> int:
    """ruff, mending what it can."""
    python = environment()
    return run(python, "-m", "ruff", "check", "--fix", ".") or run(python, "-m", "ruff", "format", ".")


def lock(args: argparse.Namespace, rest: list[str]) -> int:
    """Resolve pyproject.toml's dependencies and the developers' tools anew into the lock files (torch stays)."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    MAIN.install(*project["dependencies"], *project["optional-dependencies"]["dev"], TORCH)
    _write(MAIN)
    newer = ("torch==", "setuptools==", "#")  # this torch wants a newer setuptools
    for web_ui in WEB_UIS.values():
        pins = web_ui.pins.read_text(encoding="utf-8").splitlines()
        with tempfile.TemporaryDirectory() as folder:
            kept = Path(folder) / "constraints.txt"
            kept.write_text("\n".join(pin for pin in pins if not pin.startswith(newer)), encoding="utf-8")
            web_ui.install("-c", kept, *project["dependencies"], *COMPAT_TOOLS, *web_ui.also, TORCH)
        _write(web_ui)
    return 0


def _write(made: Environment) -> None:
    made.lock.write_text("\n".join(["# python dev.py lock", *made.freeze(), ""]), encoding="utf-8")


COMMANDS = {f.__name__: f for f in (test, demo, docs, lint, lock)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=COMMANDS, help="; ".join(f"{n}: {f.__doc__}" for n, f in COMMANDS.items()))
    parser.add_argument("--compat", action="store_true", help="test: on the web UIs' versions; alone, only there")
    args, rest = parser.parse_known_args()
    if sys.version_info < (3, 11):  # noqa: UP036 - this file may be started by any Python
        parser.error("needs Python 3.11 or newer")
    return COMMANDS[args.command](args, rest)


if __name__ == "__main__":
    sys.exit(main())
