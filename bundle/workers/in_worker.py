"""What runs in a worker process: it makes what a job's cases share once, keeps that, and works on cases by name."""

from __future__ import annotations

import logging
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bundle.console import OURS, quieten_libraries
from bundle.version import bundle_version
from scripts.common.errors import BundleError, UnexpectedError
from scripts.common.sharing.crew import Job, Outcome, outcome_of


@dataclass(frozen=True)
class Order:
    """A job as it travels.

    Attributes:
        job: see `Job`.
        number: tells jobs apart that look alike: what they read may have changed in between.
        folder: the command's current one, which relative paths start from.
        version: of the command's code.
    """

    job: Job
    number: str
    folder: str
    version: str


@dataclass(frozen=True)
class Said:
    """One logged line."""

    logger: str
    level: int
    message: str


@dataclass(frozen=True)
class Report:
    """What became of some cases.

    Attributes:
        outcomes: one for each.
        said: what was logged meanwhile.
        seconds: that the cases took, without the start.
    """

    outcomes: list[Outcome]
    said: list[Said]
    seconds: float


_alone = threading.Lock()  # a worker with several threads works on one case all the same
_kept: dict[str, Callable[[Any], Any]] = {}  # at most one job's, by its number
_at_work: set[str] = set()  # the same, while a case is worked on


def work_on(order: Order, items: Mapping[str, Any]) -> Report:
    """Work on some cases of a job; what it shares stays in this process until another job comes.

    Raises:
        BundleError: this process runs other code than the command, or the job cannot be started.
    """
    if order.version != bundle_version():
        raise BundleError(
            "the workers run another version", stage="workers", expected=order.version, found=bundle_version()
        )
    with _alone, _recorded() as said, _working_for(order.number):
        work = _started(order)
        start = time.perf_counter()
        outcomes = [outcome_of(work, case, item) for case, item in items.items()]
        for outcome in outcomes:
            if isinstance(outcome.error, UnexpectedError):  # the command cannot see where it was raised
                lines = "".join(traceback.format_exception(outcome.error))
                said.append(Said(__name__, logging.ERROR, lines.rstrip()))
        return Report(outcomes, said, time.perf_counter() - start)


def works_for(number: str) -> bool:
    """Whether this process works on a case of a job."""
    return number in _at_work


def forget() -> None:
    """Let go of what is kept."""
    _kept.clear()


def _started(order: Order) -> Callable[[Any], Any]:
    if order.number not in _kept:
        _kept.clear()
        os.chdir(order.folder)
        _kept[order.number] = order.job.start()
    return _kept[order.number]


@contextmanager
def _working_for(number: str) -> Iterator[None]:
    _at_work.add(number)
    try:
        yield
    finally:
        _at_work.discard(number)


class _Recorder(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.said: list[Said] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(Said(record.name, record.levelno, record.getMessage()))


@contextmanager
def _recorded() -> Iterator[list[Said]]:
    """Collect what our code logs, for the command to say."""
    quieten_libraries()
    recorder, loggers = _Recorder(), [logging.getLogger(name) for name in OURS]
    for logger in loggers:
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logger.addHandler(recorder)
    try:
        yield recorder.said
    finally:
        for logger in loggers:
            logger.removeHandler(recorder)
