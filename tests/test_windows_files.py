"""What Windows does with files that others hold: simulated refusals with its numbers, on the real writers."""

from __future__ import annotations

import errno
import os
from dataclasses import replace as changed
from pathlib import Path

import pytest
import torch
from app_stage import StageHost, recipe

from lib_lora_train.app import publish
from lib_lora_train.engine import state
from lib_lora_train.errors import ExportError
from lib_lora_train.events import Warned
from lib_lora_train.export import lora_file, replacing
from lib_lora_train.export.folder import explanation, written

SHARING, LOCK, DENIED, MAPPED, TOO_LONG = 32, 33, 5, 1224, 206


def refusal(number: int, path: Path | str = "") -> OSError:
    """The error that Python raises on Windows: 5, 32 and 33 are PermissionErrors, 1224 is an invalid argument."""
    of = {DENIED: errno.EACCES, SHARING: errno.EACCES, LOCK: errno.EACCES, MAPPED: errno.EINVAL, TOO_LONG: errno.ENOENT}
    error = OSError(of[number], "The process cannot access the file", str(path))
    error.winerror = number
    return error


@pytest.fixture
def held(monkeypatch):
    """hold(path, times, number): the next `times` renames over it or removals of it are refused; gives those."""
    monkeypatch.setattr(replacing, "_WAITS_S", (0.001, 0.001, 0.001))
    monkeypatch.setattr(publish, "_FIRST_WAIT", 0.001)
    real_replace, real_unlink = os.replace, Path.unlink

    def hold(path: Path, times: int, number: int = SHARING) -> list[str]:
        tried: list[str] = []

        def check(target) -> None:
            if Path(target) == path and len(tried) < times:
                tried.append(str(target))
                raise refusal(number, target)

        monkeypatch.setattr(os, "replace", lambda a, b: (check(b), real_replace(a, b))[1])
        monkeypatch.setattr(Path, "unlink", lambda self, **how: (check(self), real_unlink(self, **how))[1])
        return tried

    return hold


@pytest.mark.parametrize("number", [DENIED, SHARING, LOCK, MAPPED])
def test_a_scanner_that_looks_for_a_moment_is_waited_for(tmp_path, held, number):
    path = tmp_path / "recipe.toml"
    path.write_text("old", encoding="utf-8")
    tried = held(path, 3, number)
    with written(path) as beside:
        beside.write_text("new", encoding="utf-8")
    assert path.read_text(encoding="utf-8") == "new" and len(tried) == 3
    assert [p.name for p in tmp_path.iterdir()] == ["recipe.toml"]


def test_one_that_keeps_it_leaves_the_old_content_and_no_litter(tmp_path, held):
    path = tmp_path / "recipe.toml"
    path.write_text("old", encoding="utf-8")
    held(path, 1000, MAPPED)
    with pytest.raises(OSError, match="cannot access"), written(path) as beside:
        beside.write_text("new", encoding="utf-8")
    assert path.read_text(encoding="utf-8") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["recipe.toml"]


def test_a_refusal_for_good_is_not_waited_for(tmp_path, monkeypatch):
    tried = []

    def refuse(source, target):
        tried.append(target)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="No space"), written(tmp_path / "x") as beside:
        beside.write_bytes(b"x")
    assert len(tried) == 1


def _publication(host: StageHost, session: int) -> publish.Publication:
    source = host.root / f"run-{session}.safetensors"
    lora_file.save(source, {"lora_te_x.alpha": torch.ones(1) * session}, {"ss_session_id": str(session)})
    return publish.Publication(source, recipe(host.root, output_name="cat"), 1, draw=False, overwrite=True)


@pytest.mark.parametrize("number", [DENIED, SHARING, MAPPED])
def test_a_lora_that_the_web_ui_has_mapped_gets_a_neighbour_and_says_so(tmp_path, held, number):
    host = StageHost(tmp_path)
    host.release = host.publish = lambda path: None
    publish.publish(host, _publication(host, 1), print)
    path = host.lora_dir() / "cat.safetensors"
    before, told = path.read_bytes(), []
    held(path, 1000, number)
    published = publish.publish(host, _publication(host, 2), told.append)
    warned = next(event for event in told if isinstance(event, Warned) and "in use" in event.text)
    assert published.name == "cat-2" and "Close what uses it" in warned.remedy
    assert path.read_bytes() == before and not [p for p in host.lora_dir().iterdir() if p.suffix == ".tmp"]


def test_a_lora_that_is_let_go_after_the_web_ui_was_asked_is_replaced(tmp_path, held):
    host, asked = StageHost(tmp_path), []
    host.release, host.publish = asked.append, lambda path: None
    publish.publish(host, _publication(host, 1), print)
    path = host.lora_dir() / "cat.safetensors"
    held(path, 6, MAPPED)
    assert publish.publish(host, _publication(host, 2), print).name == "cat"
    assert lora_file.read_metadata(path)["ss_session_id"] == "2" and asked


def test_old_states_that_are_still_mapped_stop_neither_the_run_nor_its_end(tmp_path, held):
    one = state.State({"w": torch.ones(3)}, {"step": 1})
    for step in (1, 2):
        state.save(tmp_path, step, one)
    oldest = tmp_path / "state-00000001.safetensors"
    held(oldest, 1, MAPPED)
    state.save(tmp_path, 3, one)
    assert oldest.exists(), "still held"
    state.save(tmp_path, 4, changed(one, values={"step": 4}))
    assert not oldest.exists(), "tried again with the next one"
    assert state.load(tmp_path).values == {"step": 4}
    held(tmp_path / "state-00000004.safetensors", 1, SHARING)
    state.clear(tmp_path)


def test_every_refusal_has_a_remedy_that_fits():
    path = "C:\\Users\\me\\" + "a" * 250 + "\\cat.safetensors"
    for number in (SHARING, LOCK, MAPPED):
        told = explanation(refusal(number), "D:\\loras\\cat.safetensors", "written")
        assert isinstance(told, ExportError) and "cat.safetensors cannot be written" in told.message
        assert "close that" in told.remedy
    assert "permissions" in explanation(refusal(DENIED), "D:\\cat.safetensors").remedy
    assert f"{len(path)} characters" in explanation(refusal(TOO_LONG), path).remedy
    gone = refusal(TOO_LONG)
    gone.winerror = 3  # what Windows says of too long a path as well
    assert "LongPathsEnabled" in explanation(gone, path).remedy
    assert "folder is gone" in explanation(gone, "D:\\loras\\cat.safetensors").remedy
