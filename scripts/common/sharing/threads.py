"""Parts of one case by several threads: of what comes out the same by any number of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from scripts.common.sharing.one_thread import allowed_threads, one_thread

MOST_THREADS = 4  # each has its own part of the case in memory

Part = TypeVar("Part")
Made = TypeVar("Made")


def most_at_once() -> int:
    """Parts that `in_threads` makes at the same time, if there are as many."""
    return min(allowed_threads(), MOST_THREADS)


def in_threads(make: Callable[[Part], Made], parts: Iterable[Part]) -> list[Made]:
    """What `make` gives of each part, in their order, by as many threads as the process may use; torch has one in each.

    Worth it where most of the time is spent in numpy, scipy, torch or compiled loops, which let other threads run.
    """
    parts = list(parts)
    threads = min(most_at_once(), len(parts))
    with one_thread():
        if threads < 2:
            return [make(part) for part in parts]
        with ThreadPoolExecutor(threads) as pool:
            return [*pool.map(make, parts)]
