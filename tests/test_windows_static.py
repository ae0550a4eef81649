"""Nothing in the product needs another system than Windows: found in the sources, since no test here runs there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib_lora_train.export.names import RESERVED

ROOT = Path(__file__).parents[1]
FILES = sorted([*ROOT.glob("lib_lora_train/**/*.py"), *ROOT.glob("scripts/*.py"), *ROOT.glob("demo/*.py")])
FILES += [ROOT / "install.py", ROOT / "dev.py"]
MODULES = {
    "fcntl",
    "resource",
    "pwd",
    "grp",
    "termios",
    "tty",
    "pty",
    "readline",
    "posix",
    "syslog",
    "curses",
    "triton",
}
OF_OS = {
    "fork",
    "forkpty",
    "getuid",
    "geteuid",
    "getgid",
    "getegid",
    "setsid",
    "killpg",
    "getpgid",
    "statvfs",
    "mkfifo",
    "mknod",
    "getloadavg",
    "uname",
    "nice",
    "chown",
    "lchown",
    "sync",
    "wait4",
    "register_at_fork",
    "symlink",
    "sysconf",
    "pipe2",
    "getgroups",
    "chroot",
    "sched_getaffinity",
    "O_NOFOLLOW",
    "O_DIRECTORY",
    "O_CLOEXEC",
    "posix_fallocate",
    "rename",
}  # fmt: skip  (os.rename refuses on Windows where something is in its place; os.replace does not)
PLACES = re.compile(r"^/(proc|dev|tmp|usr|bin|etc|var|home|sys)(/|$)")
TEXT = {"read_text", "write_text"}
# Where it is asked first whether the system has it: (file, what).
GUARDED = {
    ("lib_lora_train/app/claim.py", "fcntl"),  # without it msvcrt
    ("lib_lora_train/engine/meter.py", "resource"),  # after looking for /proc
    ("lib_lora_train/engine/meter.py", "/proc/self/statm"),
}


def _found(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Import):
            yield from ((line, alias.name) for alias in node.names if alias.name.split(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES and not node.level:
            yield line, node.module
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            owner, name = node.value.id, node.attr
            if (owner == "os" and name in OF_OS) or (owner, name) == ("torch", "compile"):
                yield line, f"{owner}.{name}"
            if owner == "signal" and name.startswith("SIG") and name not in ("SIGINT", "SIGTERM"):
                yield line, f"signal.{name}"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if PLACES.match(node.value):
                yield line, node.value
            if re.search(r"%-[a-zA-Z]", node.value):
                yield line, f"{node.value} as a format of time"
        elif isinstance(node, ast.Call):
            yield from ((line, what) for what in _of_call(node))


def _of_call(node: ast.Call) -> Iterator[str]:
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    given = {keyword.arg: keyword.value for keyword in node.keywords}
    texts = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
    if name in TEXT and "encoding" not in given:
        yield f"{name} without an encoding"
    plain_open = isinstance(node.func, ast.Name) and name == "open"
    binary = any(re.fullmatch(r"[rwxa+]*b[rwxa+]*", text) for text in texts)
    text_open = (plain_open or (name == "open" and not node.args)) and not binary
    if text_open and not {"encoding", "mode"} & given.keys():
        yield "open without an encoding"
    if name == "NamedTemporaryFile" and "delete" not in given:
        yield "NamedTemporaryFile that cannot be opened again"
    if name in ("get_context", "set_start_method") and ("fork" in texts):
        yield "processes by fork"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_call_that_windows_lacks(path):
    where = path.relative_to(ROOT).as_posix()
    found = [f"{where}:{line}: {what}" for line, what in _found(path) if (where, what) not in GUARDED]
    assert not found


def test_what_is_excused_is_still_there():
    there = {(path.relative_to(ROOT).as_posix(), what) for path in FILES for _, what in _found(path)}
    assert there >= GUARDED


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("import os\nos.rename(a, b)", "os.rename"),
        ("from fcntl import flock", "fcntl"),
        ("open(path)", "open without an encoding"),
        ("path.open()", "open without an encoding"),
        ("path.read_text()", "read_text without an encoding"),
        ("signal.SIGKILL", "signal.SIGKILL"),
        ("Path('/dev/shm')", "/dev/shm"),
        ("now.strftime('%-d.%m')", "%-d.%m as a format of time"),
    ],
)
def test_the_search_finds(code, what, tmp_path):
    file = tmp_path / "x.py"
    file.write_text(code, encoding="utf-8")
    assert what in [found for _, found in _found(file)]


def test_names_of_our_own_files_can_lie_on_windows():
    rooms = ("lib_lora_train", "scripts", "demo", "docs", "tests", "javascript", "preview")
    paths = [path.relative_to(ROOT) for room in rooms for path in (ROOT / room).rglob("*") if path.suffix != ".pyc"]
    for path in paths:
        assert path.name.split(".")[0].lower() not in RESERVED and not set(path.name) & set('<>:"|?*')
        assert len(str(path)) < 120, "leaves room for where the web UI lies"
    assert len({str(path).casefold() for path in paths}) == len(paths)
