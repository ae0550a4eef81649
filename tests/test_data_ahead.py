"""Work done ahead on threads."""

from __future__ import annotations

import threading

import pytest

from lib_lora_train.data import ahead as ahead_module


def test_reading_ahead_keeps_order_delivers_errors_and_ends():
    before = threading.active_count()
    assert list(ahead_module.ahead(lambda x: x * x, range(50), threads=3)) == [x * x for x in range(50)]
    made = []
    iterator = ahead_module.ahead(made.append, range(1000), depth=3)
    next(iterator)
    iterator.close()
    assert len(made) <= 6

    def fail(x):
        return 1 // (3 - x)

    got = []
    with pytest.raises(ZeroDivisionError):
        for value in ahead_module.ahead(fail, range(9)):
            got.append(value)
    assert got == [0, 0, 1] and threading.active_count() == before
