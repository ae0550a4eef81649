"""Two processes cannot continue one run; one that was killed leaves nothing in the way."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from lib_lora_train.app import claim
from lib_lora_train.app.refusals import Conflict
from lib_lora_train.export.folder import RunFolder

ROOT = Path(__file__).resolve().parents[1]
HOLD = """
import sys
from pathlib import Path
from lib_lora_train.app import claim
from lib_lora_train.export.folder import RunFolder
held = claim.claim(RunFolder(Path(sys.argv[1]), Path(sys.argv[1])))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    return RunFolder(tmp_path / "20260101-000000-cat", tmp_path / "cache").make()


@pytest.fixture
def holder(folder):
    """Another process that has claimed the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder.root)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline().strip() == b"held"
    yield process
    process.kill()
    process.wait()


def test_another_process_has_it_until_it_is_killed(folder, holder):
    assert claim.is_claimed(folder)
    with pytest.raises(Conflict, match="20260101-000000-cat"):
        claim.claim(folder)
    holder.kill()
    holder.wait()
    assert not claim.is_claimed(folder)
    claim.claim(folder).release()


def test_once_within_a_process_too(folder):
    assert not claim.is_claimed(folder)
    first = claim.claim(folder)
    assert claim.is_claimed(folder)
    with pytest.raises(Conflict):
        claim.claim(folder)
    first.release()
    assert not claim.is_claimed(folder)
    claim.claim(folder).release()


@pytest.mark.parametrize(("number", "held"), [(errno.EACCES, True), (errno.ENOLCK, False)])
def test_as_on_windows_and_on_disks_without_locks(folder, monkeypatch, caplog, number, held):
    """Windows answers EACCES; a disk that knows no locks keeps nobody out, and says so."""

    def locking(_descriptor: int, _mode: int, _count: int) -> None:
        raise OSError(number, "refused")

    windows = ModuleType("msvcrt")
    windows.locking, windows.LK_NBLCK = locking, 2
    monkeypatch.setattr(claim, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", windows)
    if held:
        with pytest.raises(Conflict):
            claim.claim(folder)
    else:
        claim.claim(folder).release()
        assert "cannot be locked" in caplog.text
    (folder.root / "in-use.lock").touch()
    assert claim.is_claimed(folder) is held
