"""How far the stage at work is, for whoever drives several stages and listens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

CASES, EPOCHS = "cases", "epochs"

Listener = Callable[[str, int, int], None]  # told the unit, how many are done, and how many there are
_listeners: list[Listener] = []


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Tell `listener` of every step of the stages that run meanwhile."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def is_listened_to() -> bool:
    """Whether anybody does."""
    return bool(_listeners)


def advance(unit: str, done: int, total: int) -> None:
    """Say that `done` of `total` units are done; with 0 at the start, so that the first one can be timed."""
    for listener in _listeners:
        listener(unit, done, total)
