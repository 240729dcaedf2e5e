"""One thread of torch and of linear algebra for one case: sums in another order differ in the last bit, and a
registration makes more of that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, local

import torch
from threadpoolctl import threadpool_limits

_changing, _own = Lock(), local()
_within, _allowed = 0, 1  # how many threads are within `one_thread` now; what torch had before the first of them


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch and numpy's linear algebra use one thread meanwhile, whatever the machine has; cores are for cases that
    are made at once, and for what comes out the same by any number of threads, see `allowed_threads`."""
    global _within, _allowed
    depth = getattr(_own, "depth", 0)
    with _changing:
        threads = torch.get_num_threads()  # asked for in any case: torch sets up a thread when it is first asked
        if _within == 0:
            _allowed = threads
        _within += depth == 0
        torch.set_num_threads(1)
    _own.depth = depth + 1
    try:
        with threadpool_limits(1):
            yield
    finally:
        _own.depth = depth
        with _changing:
            _within -= depth == 0
            if depth == 0:
                torch.set_num_threads(_allowed)


def allowed_threads() -> int:
    """How many this process has outside of `one_thread`: for parts of a case that come out the same by any number."""
    with _changing:
        return _allowed if _within else torch.get_num_threads()
