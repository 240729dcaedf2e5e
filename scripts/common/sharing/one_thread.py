"""One thread for one case: sums in another order differ in the last bit, and a registration makes more of that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits

_allowed: list[int] = []  # threads that there were before each `one_thread` of the moment


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch and numpy's linear algebra use one thread meanwhile, whatever the machine has; cores are for cases that
    are made at once."""
    threads = torch.get_num_threads()
    _allowed.append(threads)
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(threads)
        _allowed.remove(threads)


def allowed_threads() -> int:
    """How many this process has outside of `one_thread`: for parts of a case that come out the same by any number."""
    return max([torch.get_num_threads(), *_allowed])
