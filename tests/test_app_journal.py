"""The record of a run: what was told is there again, whatever the disk does."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_lora_train.app.journal import Journal, as_dicts, read
from lib_lora_train.events import Finished, Paused, Phase, Progress, Resumed, Warned


def _names(events):
    return [e.name for e in events if isinstance(e, Phase)]


def test_what_is_told_is_on_disk_at_once_with_its_time(tmp_path):
    journal = Journal(tmp_path / "events.jsonl")
    journal.add(Phase(name="scan"))
    journal.add(Finished(step=3, path="x"))
    events, notes = read(tmp_path / "events.jsonl")
    assert events == journal.all() and notes == []
    assert events[0].t > 1e9 and [d["event"] for d in as_dicts(events)] == ["Phase", "Finished"]


@given(cut=st.integers(0, 200))
def test_a_record_cut_anywhere_reads_as_far_as_it_goes_and_can_be_continued(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("cut") / "events.jsonl"
    journal = Journal(path)
    for index in range(5):
        journal.add(Phase(name=f"n{index}"))
    path.write_bytes(path.read_bytes()[:cut])
    whole = _names(read(path)[0])
    assert whole == [f"n{i}" for i in range(len(whole))]
    again = Journal(path, resume=True)
    again.add(Phase(name="more"))
    events, notes = read(path)
    assert _names(events) == [*whole, "more"] == _names(again.all())
    assert len(notes) <= 1


def test_lines_of_a_newer_version_and_rubbish_are_noted(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"event":"Phase","name":"scan"}\n{"event":"Hologram","x":1}\n\xff\xfe\n[]\n')
    events, notes = read(path)
    assert _names(events) == ["scan"]
    assert notes == ["3 lines of events.jsonl cannot be read and are left out."]
    assert read(tmp_path / "nothing.jsonl") == ([], [])


def test_a_disk_that_refuses_loses_nothing_and_is_told_once(tmp_path):
    path = tmp_path / "run" / "events.jsonl"
    journal = Journal(path)  # the folder is missing: every write fails
    for name in "abc":
        journal.add(Phase(name=name))
    assert _names(journal.all()) == ["a", "b", "c"]
    assert sum(isinstance(e, Warned) for e in journal.all()) == 1
    path.parent.mkdir()
    journal.add(Phase(name="d"))
    assert read(path)[0] == journal.all()


@pytest.mark.parametrize("room", [0, 1, 40, 100, 150])
def test_a_disk_that_fills_up_within_a_line_repeats_only_that_line(tmp_path, monkeypatch, room):
    """A file of `room` bytes' disk: the rest of a write is refused, as write(2) does when the disk is full."""
    left = [room]

    class Full:
        def __init__(self, file):
            self._file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self._file.close()

        def write(self, data):
            part = data[: left[0]]
            left[0] -= len(part)
            return self._file.write(part)

    path = tmp_path / "events.jsonl"
    monkeypatch.setattr("builtins.open", lambda p, m, buffering: Full(_open(p, m, buffering=buffering)), raising=True)
    journal = Journal(path)
    for name in "abcd":
        journal.add(Phase(name=name))
    left[0] = 10**6
    journal.add(Phase(name="e"))
    monkeypatch.undo()
    assert read(path)[0] == journal.all()
    assert _names(journal.all()) == list("abcde")


_open = open


def test_latest_knows_the_order_of_different_kinds(tmp_path):
    journal = Journal(tmp_path / "events.jsonl")
    assert journal.latest(Paused, Resumed) is None
    journal.add(Paused(reason="user"))
    assert isinstance(journal.latest(Paused, Resumed), Paused)
    journal.add(Resumed())
    assert isinstance(journal.latest(Paused, Resumed), Resumed)
    assert Journal(tmp_path / "events.jsonl", resume=True).latest(Paused) is None  # a run taken up again is not paused


def test_many_threads_lose_no_event(tmp_path):
    journal = Journal(tmp_path / "events.jsonl")

    def tell():
        for step in range(50):
            journal.add(Progress(step=step, total_steps=50, epoch=1, epochs=1, loss=1.0, loss_smooth=1.0, lr={}))

    threads = [threading.Thread(target=tell) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read(tmp_path / "events.jsonl")[0] == journal.all()
    assert len(journal.all()) == 200
