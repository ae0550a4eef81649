"""install.py in environments that hold all of a web UI's packages: names, versions and needs, nothing of their code.

pip takes an environment for what its metadata say, so resolving, downloading and adding are real; only the gigabytes
are left out. `tests/pins/*-installed.json` are what A1111's and Forge's pins (`*.txt`) bring with them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PINS = ROOT / "tests" / "pins"
NOWHERE = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_FIND_LINKS": os.curdir}
ADDED = {"msgspec", "prodigyopt", "tomli-w"}  # neither web UI brings these


def _key(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _names(frozen: set[str]) -> set[str]:
    return {_key(line.partition("==")[0]) for line in frozen}


class Installation:
    """A virtual environment filled with the metadata of `packages` (`name==version` to what each needs)."""

    def __init__(self, folder: Path, base: Path, packages: dict[str, list[str]]):
        shutil.copytree(base, folder, symlinks=True)
        self.python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        self.site = next(folder.rglob("site-packages"))
        for package, needs in packages.items():
            name, version = package.split("==")
            head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
            info = self.site / f"{_key(name).replace('-', '_')}-{version}.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(head + "".join(f"Requires-Dist: {n}\n" for n in needs), encoding="utf-8")
            (info / "INSTALLER").write_text("pip\n", encoding="utf-8")
            (info / "RECORD").write_text("", encoding="utf-8")

    def run(self, *command: str | Path, **env: str) -> str:
        done = subprocess.run(
            [self.python, *command],
            env={**os.environ, "PYTHONNOUSERSITE": "1", **env},
            capture_output=True,
            text=True,
            check=False,
            cwd=self.site,
        )
        assert done.returncode == 0 and "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
        return done.stdout

    def install(self, **env: str) -> str:
        """As the web UI runs it."""
        return self.run(ROOT / "install.py", **env)

    def freeze(self) -> set[str]:
        return set(self.run("-m", "pip", "freeze", "--all").split())

    def outside(self) -> list[list[str]]:
        """What the tab says of packages out of our range."""
        code = "import install, json, pathlib; wanted = install.requirements(pathlib.Path('pyproject.toml')); "
        code = f"import os, sys; os.chdir({str(ROOT)!r}); sys.path.insert(0, '.'); {code}"
        code += "print(json.dumps(install.outside(wanted)))"
        return json.loads(self.run("-c", code))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base") / "env"
    venv.create(folder, with_pip=True)
    return folder


@pytest.fixture(scope="module")
def network():
    """Where tests decide (CI set) there has to be one."""
    ask = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", os.devnull, "msgspec==0"]
    said = subprocess.run(ask, capture_output=True, text=True, check=False).stderr
    if "from versions: none" in said and not os.environ.get("CI"):
        pytest.skip("no package index can be reached")


def packages(web_ui: str) -> dict[str, list[str]]:
    return json.loads((PINS / f"{web_ui}-installed.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("web_ui", ["a1111", "forge"])
def test_the_packages_are_those_of_the_complete_pin_file(web_ui):
    there = {_key(name): version for name, version in (package.split("==") for package in packages(web_ui))}
    for line in (PINS / f"{web_ui}.txt").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            name, version = line.split("==")
            assert there[_key(name)].removesuffix(".0") == version.removesuffix(".0")


@pytest.mark.slow
@pytest.mark.parametrize(("web_ui", "also"), [("a1111", {"diffusers"}), ("forge", set())])
def test_only_additions_to_a_web_ui(web_ui, also, base, network, tmp_path):
    there = Installation(tmp_path / "env", base, packages(web_ui))
    before, broken = there.freeze(), set(_check(there))
    said = there.install()
    after = there.freeze()
    assert before <= after, f"changed: {sorted(before - after)}\n{said}"
    assert _names(after - before) >= ADDED | also and "could not" not in said
    assert set(_check(there)) <= broken, "what was added does not fit what was there"
    assert there.outside() == []
    assert there.install(**NOWHERE) == "", "with everything there no network is needed"
    assert there.freeze() == after


def _check(there: Installation) -> list[str]:
    done = subprocess.run([there.python, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    return [line for line in done.stdout.splitlines() if " has requirement " in line or " requires " in line]


@pytest.mark.slow
@pytest.mark.parametrize("theirs", ["0.25.1", "1.2.0"])
def test_another_extensions_diffusers_stays_and_is_named(theirs, base, network, tmp_path):
    """Too old, and newer than anything known."""
    needs = ["huggingface-hub>=0.20", "numpy", "safetensors>=0.3.1", "Pillow"]
    there = Installation(tmp_path / "env", base, {**packages("a1111"), f"diffusers=={theirs}": needs})
    before = there.freeze()
    there.install()
    after = there.freeze()
    assert before <= after and _names(after - before) >= ADDED
    said = there.outside()
    assert said and all(line[:2] == ["diffusers", theirs] for line in said)


@pytest.mark.slow
def test_without_a_network_nothing_changes_and_the_web_ui_starts(base, tmp_path):
    there = Installation(tmp_path / "env", base, packages("a1111"))
    before = there.freeze()
    said = there.install(**NOWHERE)
    assert there.freeze() == before
    assert "could not add everything" in said and "No package index can be reached" in said
