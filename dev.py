"""What a developer runs on a bare machine with Python 3.11 or newer: `python dev.py test|demo|docs|lint|lock`.

Standard library only. The first call makes `.venv` from requirements.lock; later calls reuse it until the lock changes.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
LOCK = ROOT / "requirements.lock"
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def environment() -> Path:
    """The locked environment's Python; made anew when the lock or this Python changed."""
    wanted = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()
    stamp = VENV / "made-from"
    if PYTHON.exists() and stamp.exists() and stamp.read_text() == wanted:
        return PYTHON
    print(f"Making {VENV} from {LOCK.name} (minutes, once)", file=sys.stderr, flush=True)
    shutil.rmtree(VENV, ignore_errors=True)
    venv.create(VENV, with_pip=True)
    subprocess.run([PYTHON, "-m", "pip", "install", "--quiet", "--no-warn-script-location", "-r", LOCK], check=True)
    stamp.write_text(wanted)
    return PYTHON


def run(*command: str | Path, **extra_env: str) -> int:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "HF_HUB_OFFLINE": "1", **extra_env}
    env.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    return subprocess.run([str(c) for c in command], cwd=ROOT, env=env).returncode


def test(args: argparse.Namespace, rest: list[str]) -> int:
    """All tests; what follows goes to pytest (-m golden, -k name, a file). Files run in parallel, hosts one by one."""
    python = environment()
    if not rest:
        code = run(python, "-m", "ruff", "check", ".") or run(python, "-m", "ruff", "format", "--check", "--quiet", ".")
        if code:
            return code
    workers = 0 if os.environ.get("WEBUI_DIR") else min(os.cpu_count() or 1, 4)
    parallel = ["-n", str(workers), "--dist", "loadfile"] if workers > 1 else []
    threads = {} if "OMP_NUM_THREADS" in os.environ else {"OMP_NUM_THREADS": "1"}
    return run(python, "-m", "pytest", *parallel, "-ra", "--durations=10", *rest, **threads)


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
    """Resolve pyproject.toml's dependencies and the developers' tools anew into requirements.lock (torch stays)."""
    import tomllib

    python = environment()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"], "torch==2.13.0"]
    command = [python, "-m", "pip", "install", "--quiet", "--upgrade", "--upgrade-strategy", "eager", *wanted]
    subprocess.run(command, check=True)
    frozen = subprocess.run([python, "-m", "pip", "freeze"], capture_output=True, text=True, check=True).stdout
    keep = [line.split("+")[0] for line in frozen.splitlines() if "@" not in line and not line.startswith("nvidia-")]
    LOCK.write_text("\n".join(["# python dev.py lock", *keep, ""]))
    return 0


COMMANDS = {f.__name__: f for f in (test, demo, docs, lint, lock)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=COMMANDS, help="; ".join(f"{n}: {f.__doc__}" for n, f in COMMANDS.items()))
    args, rest = parser.parse_known_args()
    if sys.version_info < (3, 11):  # noqa: UP036 - this file may be started by any Python
        parser.error("needs Python 3.11 or newer")
    return COMMANDS[args.command](args, rest)


if __name__ == "__main__":
    sys.exit(main())
