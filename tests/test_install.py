"""install.py adds and never changes: its parts, and whole runs in throw-away environments without a network."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from hypothesis import assume, given, strategies
from packaging.specifiers import SpecifierSet

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
    ("package", "version", "limit"),
    [
        ("torch", "2.1.2+cu121", "diffusers<0.36"),
        ("torch", "2.3.1", "diffusers<0.36"),
        ("torch", "2.4.0", ""),
        ("transformers", "4.30.2", "diffusers<0.37"),
        ("transformers", "4.48.0", ""),
        ("transformers", "5.23.0", ""),
    ],
)
def test_what_is_old_keeps_new_diffusers_away(monkeypatch, package, version, limit):
    class Found:
        metadata = {"Name": package}

    Found.version = version
    monkeypatch.setattr(install.metadata, "distributions", lambda: [Found])
    assert [line for line in install.constraints() if "==" not in line] == [limit] * bool(limit)


_VERSIONS = strategies.tuples(strategies.integers(0, 12), strategies.integers(0, 50), strategies.integers(0, 12))


@given(_VERSIONS, _VERSIONS, strategies.sampled_from([">=", "<"]), strategies.sampled_from(["", "+cu121", ".post1"]))
def test_ranges_are_kept_as_pip_understands_them(have, bound, sign, ending):
    version, rule = ".".join(map(str, have)) + ending, sign + ".".join(map(str, bound))
    assume(not (ending == ".post1" and have == bound))
    assert install._keeps(version, rule) == SpecifierSet(rule).contains(version.partition("+")[0])


def test_a_package_outside_our_range_is_named_with_both_versions(monkeypatch):
    there = {"diffusers": "0.25.1", "msgspec": "0.22.0", "torch": "2.1.2", "tomli": "1.0"}
    monkeypatch.setattr(install, "_version", there.get)
    monkeypatch.setattr(sys, "version_info", (3, 11, 0))
    wanted = ["diffusers>=0.31,<1", "msgspec>=0.18.6,<1", "numpy>=1.26", "tomli>=2; python_version<'3.11'"]
    assert install.outside(wanted) == [("diffusers", "0.25.1", ">=0.31,<1")]
    there["diffusers"] = "0.36.0"
    assert install.outside(wanted) == [("diffusers", "0.36.0", "<0.36")]
    there["torch"] = "2.4"
    assert install.outside(wanted) == []


def test_only_ranges_are_understood():
    with pytest.raises(ValueError, match="!="):
        install._keeps("1.0", "!=1.0")


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


def _work() -> float:
    """Seconds of processor time of child processes so far: a busy machine does not lengthen them."""
    times = os.times()
    return times.children_user + times.children_system


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
        before = _work()
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, check=False, cwd=self.root)
        self.seconds = _work() - before
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
    used = []
    for _ in range(3):
        assert kitchen.run() == ""
        used.append(kitchen.seconds)
    assert min(used) < 0.3


def test_what_the_system_refuses_leaves_the_web_ui_starting(kitchen):
    """No place for the list of constraints, as on a full disk."""
    kitchen.want("base", "nothing-of-that-name")
    before, kitchen.env = kitchen.env, {**kitchen.env, "TMPDIR": "/nowhere", "TEMP": "/nowhere", "TMP": "/nowhere"}
    try:
        kitchen.run()
    finally:
        kitchen.env = before


def test_a_console_with_few_letters(kitchen):
    kitchen.want("base", "nothing-of-that-name")
    index = kitchen.root / "Ω ✓ index"
    index.mkdir(exist_ok=True)
    before, kitchen.env = (
        kitchen.env,
        {**kitchen.env, "PYTHONIOENCODING": "cp1252:strict", "PIP_FIND_LINKS": str(index)},
    )
    try:
        assert "could not add everything" in kitchen.run()
    finally:
        kitchen.env = before
