"""What a command's worker processes look like to those who have cases to be worked on."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from scripts.common.errors import BundleError
from scripts.common.failures import causes, stops_every_case


class LostWorkersError(BundleError):
    """A case stopped every worker that took it."""


class Job(Protocol):
    """Work on cases that share something, such as a network. It is sent to other processes, and compared there."""

    def start(self) -> Callable[[Any], Any]:
        """Make what the cases share. The function works on one case; it is given what `Crew.work` has for that."""
        ...


@dataclass(frozen=True)
class Outcome:
    """What became of one case.

    Attributes:
        case: its name.
        value: what the work returned.
        error: why it failed.
        stops_all: whether the other cases would fail, too.
    """

    case: str
    value: Any = None
    error: BundleError | None = None
    stops_all: bool = False


class Crew(Protocol):
    """Worker processes."""

    def work(self, job: Job, items: Mapping[str, Any]) -> Generator[Outcome]:
        """Work on all cases, case -> what is known of it; they come back as they are done, in any order.

        Raises:
            BundleError: `job.start` failed, or there are no workers.
        """
        ...

    def rest(self) -> None:
        """Free memory and cores, until there is work again."""
        ...


_crews: list[Crew] = []


@contextmanager
def crew_at_work(crew: Crew) -> Iterator[None]:
    """Let `crew` do what is done meanwhile case by case."""
    _crews.append(crew)
    try:
        yield
    finally:
        _crews.remove(crew)


def present_crew() -> Crew | None:
    """Of the moment; None where this process does all itself."""
    return _crews[-1] if _crews else None


def outcome_of(work: Callable[[Any], Any], case: str, item: Any) -> Outcome:
    """Work on one case in this process; what it raises but `BundleError` passes.

    An error keeps its lines and no volume of the case: errors are told at the end, when all cases are done.
    """
    try:
        return Outcome(case, work(item))
    except BundleError as error:
        for cause in causes(error):
            traceback.clear_frames(cause.__traceback__)
        return Outcome(case, error=error, stops_all=stops_every_case(error))


def outcomes(job: Job, items: Mapping[str, Any]) -> Generator[Outcome]:
    """The same by the crew of the moment, or here; see `Crew.work`."""
    if (crew := present_crew()) is not None and len(items) > 1:
        yield from crew.work(job, items)
        return
    work = job.start()
    for case, item in items.items():
        yield outcome_of(work, case, item)


def value_or_reason(outcome: Outcome) -> Any:
    """What the work on a case returned; of one that stops workers the reason, so that it can be left out.

    Raises:
        BundleError: it failed otherwise.
    """
    if outcome.error is None:
        return outcome.value
    if isinstance(outcome.error, LostWorkersError):
        return outcome.error
    raise outcome.error
