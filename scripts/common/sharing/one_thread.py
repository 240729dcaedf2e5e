"""One thread for one case: sums in another order differ in the last bit, and a registration makes more of that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch and numpy's linear algebra use one thread meanwhile, whatever the machine has; cores are for cases that
    are made at once."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(threads)
