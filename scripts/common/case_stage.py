"""The skeleton of every stage that works case by case: share, what is up to date, progress, record last."""

from __future__ import annotations

import logging
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from scripts.common.distributed import rank_and_world
from scripts.common.errors import BundleError
from scripts.common.failures import blamed, stops_every_case
from scripts.common.files import remove_file
from scripts.common.kept_changes import set_aside_changed
from scripts.common.made_of import fingerprint, is_whole, write_record

logger = logging.getLogger(__name__)

SEVERAL_REMEDIES = "a cohort without these cases, or what they lack; the same command then continues"
HOPELESS = 3  # cases that fail before any succeeds: then no case is to blame
CASES, EPOCHS = "cases", "epochs"
WITHOUT_BAR_S = 5.0

T = TypeVar("T")
Listener = Callable[[str, int, int], None]  # told the unit, how many are done, and how many there are
_listeners: list[Listener] = []


class CaseStage(ABC):
    """A case is made again unless its record says that it was made of the same inputs and its files are whole.

    Under `torch.distributed` every process takes its share of the cases.

    Attributes:
        name: for progress and messages.
    """

    name: str

    @abstractmethod
    def cases(self) -> list[str]:
        """All that there are to make, in order."""

    @abstractmethod
    def inputs(self, case: str) -> Any:
        """JSON-serialisable: everything that the case's result depends on, files by their fingerprint.

        Raises:
            BundleError: something that it needs is missing.
        """

    @abstractmethod
    def record(self, case: str) -> Path:
        """Where the case's record goes; its other files lie in the same folder."""

    @abstractmethod
    def make(self, case: str) -> tuple[dict[str, Any], Sequence[Path]]:
        """Read, compute, write the files; returns the content of the record and the files."""

    def prepare(self, todo: Sequence[str]) -> None:
        """What is needed before the first of the cases `todo`, such as a network; not called if there is none."""
        return

    def run(self, case_ids: Iterable[str] | None = None) -> list[str]:
        """Make the cases (default: all) that are not up to date; returns their names.

        A case that fails is left for the end, unless memory or the disk is to blame: the others are made first.

        Raises:
            BundleError: a name that is none of the cases, or what `inputs`, `prepare` or `make` find wrong.
        """
        rank, world = rank_and_world()
        cases = self.cases()
        chosen = cases if case_ids is None else list(case_ids)
        if unknown := [case for case in chosen if case not in cases]:
            raise BundleError("unknown case", stage=self.name, expected=", ".join(cases), found=", ".join(unknown))
        inputs = {case: self._fingerprint(case) for case in chosen[rank::world]}
        todo = [case for case in inputs if not is_whole(self.record(case), inputs[case])]
        if not todo:
            return []
        with blamed(self.name):
            self.prepare(todo)
        failed: dict[str, BundleError] = {}
        bar = tqdm(todo, desc=self.name, unit="case", disable=rank > 0 or _is_told_in_lines())
        for done, case in enumerate(bar, start=1):
            advance(CASES, done - 1, len(todo))
            try:
                self._make(case, inputs[case])
            except BundleError as error:
                failed[case] = error
                if stops_every_case(error) or len(failed) == done == HOPELESS:
                    raise
                logger.warning("%s: %s failed (%s), %d to go", self.name, case, error.problem, len(todo) - done)
        advance(CASES, len(todo) - len(failed), len(todo))
        if failed:
            raise _joined(failed, self.name, len(todo))
        return todo

    def _fingerprint(self, case: str) -> str:
        with blamed(self.name, case):
            return fingerprint(self.inputs(case))

    def _make(self, case: str, inputs: str) -> None:
        start = time.perf_counter()
        with blamed(self.name, case):
            set_aside_changed(self.record(case))
            remove_file(self.record(case))  # what is half made again looks like nothing that is whole
            content, files = self.make(case)
            seconds = round(time.perf_counter() - start, 3)
            write_record(self.record(case), content | {"seconds": seconds}, inputs, files)


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


def counted(items: Sequence[T], name: str) -> Iterator[T]:
    """The items, one a case; says how many are done, and shows a bar where that takes long."""
    for done, item in enumerate(
        tqdm(items, desc=name, unit="case", disable=_is_told_in_lines(), delay=WITHOUT_BAR_S, leave=False)
    ):
        advance(CASES, done, len(items))
        yield item
    advance(CASES, len(items), len(items))


def _is_told_in_lines() -> bool:
    """Whoever listens writes lines where there is no terminal for a bar."""
    return is_listened_to() and not sys.stderr.isatty()


def _joined(failed: Mapping[str, BundleError], stage: str, count: int) -> BundleError:
    """One error for all cases that failed: of one case, its own."""
    if len(failed) == 1:
        return next(iter(failed.values()))
    remedies = {None if error.expected is None else str(error.expected) for error in failed.values()}
    shared = remedies.pop() if len(remedies) == 1 else None
    return BundleError(
        f"{len(failed)} of {count} cases failed, the others are done",
        stage=stage,
        expected=shared or SEVERAL_REMEDIES,
        found="".join(f"\n    {case}: {_in_one_line(error)}" for case, error in failed.items()),
    )


def _in_one_line(error: BundleError) -> str:
    details = [str(detail) for detail in (error.found, error.file) if detail is not None]
    return f"{error.problem} ({', '.join(details)})" if details else error.problem
