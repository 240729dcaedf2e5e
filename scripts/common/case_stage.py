"""The skeleton of every stage that works case by case: share, what is up to date, progress, record last."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from scripts.common.distributed import rank_and_world
from scripts.common.errors import BundleError
from scripts.common.failures import blamed
from scripts.common.files import remove_file
from scripts.common.kept_changes import set_aside_changed
from scripts.common.made_of import fingerprint, is_whole, write_record
from scripts.common.sharing.crew import Job, Outcome, outcome_of, outcomes, present_crew
from scripts.common.sharing.one_thread import one_thread

logger = logging.getLogger(__name__)

SEVERAL_REMEDIES = "a cohort without these cases, or what they lack; the same command then continues"
HOPELESS = 3  # cases that fail before any succeeds: then no case is to blame
CASES, EPOCHS = "cases", "epochs"
WITHOUT_BAR_S = 5.0

T = TypeVar("T")
# Told the unit, how many are done, and how many there are; says in return how far the whole run is, in words.
Listener = Callable[[str, int, int], str | None]
_listeners: list[Listener] = []
_done_before: list[int] = []


@dataclass(frozen=True)
class CaseWork:
    """What is to be done for a case.

    Attributes:
        case: its name.
        inputs: fingerprint of what its result depends on; None asks for `CaseStage.survey` alone.
        context: see `CaseStage.context_of`.
    """

    case: str
    inputs: str | None = None
    context: Any = None


class CaseStage(ABC):
    """A case is made again unless its record says that it was made of the same inputs and its files are whole.

    Under `torch.distributed` every process takes its share of the cases. A command's workers (`present_crew`) have
    stages of their own, alike but for the cases: what `make` needs of other cases comes from `survey`.

    Attributes:
        name: for progress and messages.
        version: of what it computes. Raise it by one with every change of code by which the same inputs give another
            result, or a folder mixes old results and new ones in silence; never for one that gives the same. Results
            of other versions are made again, and what depends on them where they differ.
        job: makes the same stage in a worker and calls `do`; None where workers cannot.
        context: of the case that is being made, see `context_of`.
    """

    name: str
    version: int = 1
    job: Job | None = None
    context: Any = None
    _is_prepared = False

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

    def prepare(self) -> None:
        """What is needed before the first case is made, such as a network; not called if none is."""
        return

    def surveyed(self) -> list[str]:
        """Cases to look at before any is made; not called if none is."""
        return []

    def survey(self, case: str) -> Any:
        """What the results of other cases depend on; small, as it may come from another process."""
        return None

    def summarise(self, surveys: Mapping[str, Any]) -> None:
        """Take what `survey` says of each case; called once."""
        return

    def context_of(self, case: str) -> Any:
        """What `make` finds in `context`, once all is summarised."""
        return None

    def run(self, case_ids: Iterable[str] | None = None) -> list[str]:
        """Make the cases (default: all) that are not up to date; returns their names.

        A case that fails is left for the end, unless memory or the disk is to blame: the others are made first.

        Raises:
            BundleError: a name that is none of the cases, or what `inputs`, `prepare` or `make` find wrong.
        """
        rank, world = rank_and_world()
        cases = self.cases()
        chosen, known = cases if case_ids is None else list(case_ids), set(cases)
        if unknown := [case for case in chosen if case not in known]:
            raise BundleError("unknown case", stage=self.name, expected=", ".join(cases), found=", ".join(unknown))
        with one_thread():
            inputs = {case: self._fingerprint(case) for case in chosen[rank::world]}
        todo = [case for case in inputs if not is_whole(self.record(case), inputs[case])]
        if not todo:
            return []
        with blamed(self.name):
            surveys = self._outcomes({case: CaseWork(case) for case in self.surveyed()})
            self.summarise({outcome.case: _value(outcome) for outcome in surveys})
        failed: dict[str, BundleError] = {}
        work = {case: CaseWork(case, inputs[case], self.context_of(case)) for case in todo}
        with done_before(len(inputs) - len(todo)), closing(self._outcomes(work)) as found:
            advance(CASES, 0, len(todo))
            bar = tqdm(found, self.name, len(todo), unit="case", disable=rank > 0 or is_listened_to())
            for done, outcome in enumerate(bar, start=1):
                if outcome.error is not None:
                    failed[outcome.case] = outcome.error
                    if outcome.stops_all or len(failed) == done == HOPELESS:
                        raise outcome.error
                    problem, left = outcome.error.problem, len(todo) - done
                    logger.warning("%s: %s failed (%s), %d to go", self.name, outcome.case, problem, left)
                if done < len(todo):
                    advance(CASES, done, len(todo))
            advance(CASES, len(todo) - len(failed), len(todo))
        if failed:
            raise joined({case: failed[case] for case in todo if case in failed}, self.name, len(todo))
        return todo

    def do(self, work: CaseWork) -> Any:
        """Do what is asked for one case, see `one_thread`: survey it, or make it, its record last.

        Raises:
            BundleError: what `survey` or `make` find wrong.
        """
        with one_thread():
            if work.inputs is None:
                with blamed(self.name, work.case):
                    return self.survey(work.case)
            self.context = work.context
            self._make(work.case, work.inputs)
            return None

    def _outcomes(self, work: Mapping[str, CaseWork]) -> Generator[Outcome]:
        """Of all cases: by workers in any order, here in that of `work`."""
        if self.job is not None and present_crew() is not None and len(work) > 1:
            yield from outcomes(self.job, work)
            return
        if any(one.inputs for one in work.values()):
            with blamed(self.name):
                self.prepare()
        for case, one in work.items():
            yield outcome_of(self.do, case, one)

    def _fingerprint(self, case: str) -> str:
        with blamed(self.name, case):
            return fingerprint(self.inputs(case), self.version)

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


@contextmanager
def done_before(count: int) -> Iterator[None]:
    """Count so many units that an earlier run did among those that stages tell of meanwhile."""
    _done_before.append(count)
    try:
        yield
    finally:
        _done_before.pop()


def is_listened_to() -> bool:
    """Whether anybody does."""
    return bool(_listeners)


def advance(unit: str, done: int, total: int) -> str:
    """Say that `done` of `total` units are done; with 0 at the start, so that the first one can be timed.

    Returns:
        How far the whole run is, in words; nothing where nobody knows.
    """
    before = sum(_done_before)
    said = [listener(unit, before + done, before + total) for listener in _listeners]
    return "; ".join(filter(None, said))


def counted(items: Iterable[T], name: str, total: int) -> Iterator[T]:
    """The `total` items, one a case; says how many are done, and shows a bar if nobody listens and that takes long."""
    advance(CASES, 0, total)
    bar = tqdm(items, name, total, unit="case", disable=is_listened_to(), delay=WITHOUT_BAR_S, leave=False)
    for done, item in enumerate(bar, start=1):
        yield item
        advance(CASES, done, total)


def _value(outcome: Outcome) -> Any:
    if outcome.error is not None:
        raise outcome.error
    return outcome.value


def joined(failed: Mapping[str, BundleError], stage: str, count: int) -> BundleError:
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
