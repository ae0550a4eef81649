"""Doing things ahead on threads, in order, with errors delivered where the results are taken."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

THREADS = min(4, os.cpu_count() or 1)  # for decoding pictures; Pillow lets other threads run meanwhile
T = TypeVar("T")
U = TypeVar("U")


def ahead(make: Callable[[T], U], items: Iterable[T], depth: int = 4, threads: int = 1) -> Iterator[U]:
    """`map(make, items)` with up to `depth` results made ahead. Closing the iterator ends its threads."""
    with ThreadPoolExecutor(threads, thread_name_prefix="train-lora-ahead") as pool:
        waiting: deque[Future[U]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(make, item))
                if len(waiting) > depth:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
