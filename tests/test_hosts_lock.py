"""Holding a web UI's lock: others come first when it is given, and it is free whatever becomes of the holder."""

from __future__ import annotations

import threading
import time
from collections import deque

import pytest

from lib_lora_train.hosts.lock import LockHold, is_locked, waiters


class QueueLock:
    """Behaves as the web UIs' lock: release wakes the first waiter, and whoever comes quicker takes the lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inner_lock = threading.Lock()
        self._pending_threads: deque[threading.Event] = deque()

    def acquire(self, blocking: bool = True) -> bool:
        with self._inner_lock:
            if self._lock.acquire(False):
                return True
            if not blocking:
                return False
            turn = threading.Event()
            self._pending_threads.append(turn)
        turn.wait()
        return self._lock.acquire()

    def release(self) -> None:
        with self._inner_lock:
            if self._pending_threads:
                self._pending_threads.popleft().set()
            self._lock.release()


@pytest.fixture(params=[QueueLock, threading.Lock])
def lock(request):
    return request.param()


def wait_until(what, seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not what() and time.monotonic() < deadline:
        time.sleep(0.001)
    assert what()


def visitors(lock, order: list, count: int, stay_s: float = 0.01) -> list[threading.Thread]:
    """Threads that come to `lock` one after the other, and note when they had it."""
    threads = []
    for number in range(count):

        def visit(number=number) -> None:
            lock.acquire()
            order.append(number)
            time.sleep(stay_s)
            lock.release()

        threads.append(threading.Thread(target=visit))
        threads[-1].start()
        if isinstance(lock, QueueLock):
            wait_until(lambda number=number: waiters(lock) == number + 1)
    return threads


def test_everybody_who_waits_goes_first_in_their_order():
    """Again and again: taking the lock right after giving it must never overtake a woken waiter."""
    lock = QueueLock()
    for _ in range(20):
        order: list = []
        with LockHold(lock) as hold:
            threads = visitors(lock, order, 3, stay_s=0.002)
            assert hold.waited_for
            hold.give()
            hold.take()
            order.append("us")
        for thread in threads:
            thread.join()
        assert order == [0, 1, 2, "us"]


def test_a_lock_that_keeps_no_list_lets_others_in_too():
    lock, order = threading.Lock(), []
    with LockHold(lock) as hold:
        threads = visitors(lock, order, 1, stay_s=0.05)
        assert waiters(lock) is None and hold.waited_for  # it cannot tell, so one must assume it
        for _ in range(20):
            hold.give()
            hold.take()
    threads[0].join()
    assert order == [0]


def test_nobody_waiting_costs_nothing():
    lock = QueueLock()
    with LockHold(lock) as hold:
        assert not hold.waited_for
        begun = time.monotonic()
        for _ in range(100):
            hold.give()
            hold.take()
        assert time.monotonic() - begun < 0.2


def test_a_waiter_that_is_quicker_than_we_look_does_not_stop_us():
    lock, order = QueueLock(), []
    with LockHold(lock) as hold:
        threads = visitors(lock, order, 1, stay_s=0)
        begun = time.monotonic()
        hold.give()
        hold.take()
        assert time.monotonic() - begun < 2
    threads[0].join()
    assert order == [0]


def test_it_is_free_after_an_exception(lock):
    with pytest.raises(ZeroDivisionError), LockHold(lock):
        assert is_locked(lock)
        1 / 0  # noqa: B018
    assert not is_locked(lock)


def test_giving_and_taking_twice_is_doing_it_once(lock):
    with LockHold(lock) as hold:
        hold.take()
        hold.give()
        hold.give()
        assert not is_locked(lock) and not hold.ours
    assert not is_locked(lock)


def test_it_belongs_to_one_thread(lock):
    seen = []
    with LockHold(lock) as hold:
        other = threading.Thread(target=lambda: seen.append(hold.ours))
        other.start()
        other.join()
        assert hold.ours and seen == [False]


def test_a_dead_owner_is_noticed_and_its_late_cleaning_up_frees_nobody_elses_hold(lock):
    left = []

    def owner() -> None:
        left.append(LockHold(lock, watch_every_s=0.01))
        left[0].__enter__()

    thread = threading.Thread(target=owner)
    thread.start()
    thread.join()
    wait_until(lambda: not is_locked(lock))
    with LockHold(lock):
        left[0].__exit__(None, None, None)
        assert is_locked(lock)


def test_a_living_owner_keeps_it(lock):
    with LockHold(lock, watch_every_s=0.01):
        time.sleep(0.1)
        assert is_locked(lock)
