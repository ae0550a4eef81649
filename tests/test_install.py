"""install.py adds and never changes: its parts, and whole runs in throw-away environments without a network."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
import venv
import zipfile
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
_spec = importlib.util.spec_from_file_location("train_lora_install", ROOT / "install.py")
install = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(install)


def test_the_list_is_read_as_toml_would():
    """Two routes that must agree: a regular expression for Python 3.10, and the real reader."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert install.requirements(ROOT / "pyproject.toml") == project["dependencies"]
    for line in project["dependencies"]:
        assert install._applies(line) in (True, False)


def test_markers_are_understood_or_refused(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 10, 6))
    assert install._applies("tomli>=2; python_version<'3.11'")
    assert not install._applies("x; python_version >= '3.11'")
    monkeypatch.setattr(sys, "version_info", (3, 13, 1))
    assert not install._applies("tomli>=2; python_version<'3.11'")
    with pytest.raises(ValueError, match="marker"):
        install._applies("x; sys_platform == 'win32'")


def test_another_version_than_wanted_counts_as_there():
    assert install.missing(["pytest>=99", "surely-not-there>=1", "surely-not; python_version<'3.0'"]) == [
        "surely-not-there>=1"
    ]


def test_everything_installed_is_pinned():
    pins = install.constraints()
    assert f"pytest=={pytest.__version__}" in pins
    assert len(pins) == len({pin.partition("==")[0] for pin in pins})


@pytest.mark.parametrize(
    ("torch", "limited"), [("2.1.2+cu121", True), ("2.3.1", True), ("2.4.0", False), (None, False)]
)
def test_old_torch_keeps_new_diffusers_away(monkeypatch, torch, limited):
    class Found:
        metadata, version = {"Name": "torch"}, torch

    monkeypatch.setattr(install.metadata, "distributions", lambda: [Found] if torch else [])
    assert ("diffusers<0.36" in install.constraints()) == limited


def _wheel(folder: Path, name: str, version: str, *needs: str) -> None:
    """A package of one empty module."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + "".join(
        f"Requires-Dist: {n}\n" for n in needs
    )
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", "")
        wheel.writestr(f"{info}/METADATA", head)
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")


class Kitchen:
    """A throw-away environment and an index of wheels made here; nothing reaches the network."""

    def __init__(self, root: Path):
        self.root, self.wheels = root, root / "wheels"
        self.extension = root / "extension"
        self.extension.mkdir()
        (self.extension / "install.py").write_bytes((ROOT / "install.py").read_bytes())
        venv.create(root / "env", with_pip=True)
        self.python = root / "env" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        self.env = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.wheels), "PYTHONNOUSERSITE": "1"}

    def want(self, *lines: str) -> None:
        listed = "\n".join(f'    "{line}",' for line in lines)
        (self.extension / "pyproject.toml").write_text(f"[project]\ndependencies = [\n{listed}\n]\n")

    def pip(self, *args: str) -> str:
        done = subprocess.run(
            [self.python, "-m", "pip", *args], env=self.env, capture_output=True, text=True, check=True
        )
        return done.stdout

    def freeze(self) -> set[str]:
        return set(self.pip("freeze").split())

    def run(self) -> str:
        """As a web UI runs it: its output; it must end well whatever happens."""
        command = [self.python, self.extension / "install.py"]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, check=False, cwd=self.root)
        assert done.returncode == 0 and "Traceback" not in done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory):
    made = Kitchen(tmp_path_factory.mktemp("kitchen"))
    for name, version, *needs in (
        ("hostlib", "1.0"),
        ("hostlib", "2.0"),
        ("plain", "1.5"),
        ("picky", "1.0", "hostlib<2"),
        ("picky", "2.0", "hostlib>=2"),
        ("greedy", "1.0", "hostlib>=2"),
        ("base", "1.0"),
    ):
        _wheel(made.wheels, name, version, *needs)
    made.pip("install", "--quiet", "hostlib==1.0")
    return made


@pytest.mark.slow
def test_only_additions_and_an_older_release_where_the_newest_would_move_a_pin(kitchen):
    before = kitchen.freeze()
    kitchen.want("hostlib>=2", "plain>=1", "picky")
    said = kitchen.run()
    assert "plain" in said and "picky" in said
    assert kitchen.freeze() - before == {"plain==1.5", "picky==1.0"}
    assert before <= kitchen.freeze(), "nothing installed changed, not even what is outside our range"


@pytest.mark.slow
def test_what_fits_nothing_is_said_and_keeps_nothing_else_away(kitchen):
    before = kitchen.freeze()
    kitchen.want("greedy", "base", "nowhere>=1")
    said = kitchen.run()
    assert "could not add everything" in said and "greedy" in said and "nowhere" in said
    assert kitchen.freeze() - before == {"base==1.0"} and before <= kitchen.freeze()


@pytest.mark.slow
def test_silent_and_quick_when_everything_is_there(kitchen):
    kitchen.want("hostlib", "other; python_version<'3.0'")
    kitchen.run()
    times = []
    for _ in range(3):
        started = time.perf_counter()
        assert kitchen.run() == ""
        times.append(time.perf_counter() - started)
    assert min(times) < 0.3
