"""The queue: one after the other, reordered, a failure in between, a restart of the program."""

from __future__ import annotations

import threading
import time

import msgspec
import pytest
from app_stage import StageEngine, StageHost, pictures, recipe

from lib_lora_train.app.jobs import JobRunner
from lib_lora_train.app.refusals import Conflict, NotFound
from lib_lora_train.errors import DataError


class Kitchen:
    """A runner whose engine fails for the names in `bad` and notes the order of all."""

    def __init__(self, root):
        self.host = StageHost(root)
        self.engine = StageEngine(self.host)
        self.bad, self.trained = set(), []
        self.folder = pictures(root / "pictures")
        self.restart()

    def restart(self):
        self.runner = JobRunner(self.host, engine=self._run)
        self.queue = self.runner.queue

    def _run(self, loan, settings, control, folder, resume=False):
        self.trained.append(settings.naming.output_name)
        if settings.naming.output_name in self.bad:
            raise DataError("The pictures are gone.", "Choose others.")
        yield from self.engine(loan, settings, control, folder, resume)

    def add(self, *names):
        return [self.queue.add(recipe(self.folder, output_name=name)) for name in names]

    def names(self):
        return [entry["name"] for entry in self.queue.as_dict()["entries"]]

    def done(self):
        deadline = time.monotonic() + 30
        while self.queue.as_dict()["going"]:
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.fixture
def kitchen(tmp_path):
    return Kitchen(tmp_path)


def test_one_after_the_other_and_a_failure_does_not_stop_the_rest(kitchen):
    kitchen.bad = {"b"}
    kitchen.add("a", "b", "c")
    kitchen.queue.start()
    kitchen.queue.start()
    kitchen.done()
    assert kitchen.trained == ["a", "b", "c"]
    left = kitchen.queue.as_dict()["entries"]
    assert [entry["name"] for entry in left] == ["b"] and "The pictures are gone." in left[0]["problem"]
    kitchen.bad = set()
    kitchen.queue.again(left[0]["id"])
    kitchen.queue.start()
    kitchen.done()
    assert kitchen.names() == []


def test_the_order_is_the_users(kitchen):
    first, second, third = kitchen.add("a", "b", "c")
    kitchen.queue.move(third, 0)
    kitchen.queue.remove(first)
    assert kitchen.names() == ["c", "b"]
    kitchen.queue.move(third, 99)
    kitchen.queue.start()
    kitchen.done()
    assert kitchen.trained == ["b", "c"]
    with pytest.raises(NotFound):
        kitchen.queue.remove(second)


def test_it_survives_a_restart_and_waits_for_the_users_click(kitchen):
    kitchen.add("a", "b")
    kitchen.restart()
    assert kitchen.names() == ["a", "b"] and not kitchen.queue.as_dict()["going"]
    kitchen.queue.start()
    kitchen.done()
    assert kitchen.trained == ["a", "b"]


def test_what_was_trained_when_the_program_ended_is_not_trained_twice(kitchen):
    kitchen.add("a", "b")
    path = kitchen.host.data_dir() / "queue.json"
    entries = msgspec.json.decode(path.read_bytes())
    entries[0]["run"] = "20260101-000000-a"
    path.write_bytes(msgspec.json.encode(entries))
    kitchen.restart()
    assert "Continue it in Results" in kitchen.queue.as_dict()["entries"][0]["problem"]
    kitchen.queue.start()
    kitchen.done()
    assert kitchen.trained == ["b"]


def test_it_waits_for_what_is_on_and_holding_lets_that_end(kitchen):
    kitchen.engine.go = threading.Semaphore(0)
    kitchen.runner.start(recipe(kitchen.folder, output_name="clicked"))
    kitchen.add("a", "b")
    kitchen.queue.start()
    time.sleep(0.7)
    assert kitchen.trained == ["clicked"]
    kitchen.engine.go.release(4)  # all of the first, one step of the next
    deadline = time.monotonic() + 20
    while kitchen.trained != ["clicked", "a"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    running = next(entry for entry in kitchen.queue.as_dict()["entries"] if entry["name"] == "a")
    if running["run"]:
        with pytest.raises(Conflict, match="being trained"):
            kitchen.queue.remove(running["id"])
    kitchen.queue.hold()
    kitchen.engine.go.release(100)
    assert kitchen.runner.wait(20)
    time.sleep(0.7)
    assert kitchen.trained == ["clicked", "a"] and kitchen.names() == ["b"]


def test_what_could_not_be_trained_is_refused_at_the_click(kitchen):
    kitchen.add("a")
    with pytest.raises(Conflict, match="waits in the queue already"):
        kitchen.add("a")
    with pytest.raises(Exception, match="does not exist"):
        kitchen.queue.add(recipe(kitchen.folder / "gone"))
    with pytest.raises(Conflict):
        kitchen.restart()
        kitchen.queue.remove(kitchen.queue.as_dict()["entries"][0]["id"])
        kitchen.queue.start()
