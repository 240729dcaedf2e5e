"""Dask's workers as a crew: a cluster of this machine, or a scheduler that runs already."""

from __future__ import annotations

import logging
import os
import time
from asyncio import TimeoutError as AsyncTimeoutError  # of Python 3.10 another one than the built-in
from collections import deque
from collections.abc import Generator, Iterable, Mapping
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import dask
from dask.system import CPU_COUNT
from distributed import Client, Future, KilledWorker, LocalCluster, wait

from bundle.version import bundle_version
from bundle.workers.capacity import GIB
from bundle.workers.in_worker import Order, Report, Said, forget, work_on, works_for
from scripts.common.errors import BundleError
from scripts.common.sharing.crew import Job, LostWorkersError, Outcome

logger = logging.getLogger(__name__)

STAGE = "workers"
MOST_KILLS = 3
TASK_S, MOST_CASES = 1.0, 64  # quick cases go several at once: a message costs 10 ms
PATIENCE = "300s"
WAITS_S = 60.0  # for the first worker of a scheduler
SILENCE_S, LOOKS_S = 60.0, 2.0  # after which one asks whether workers are there, and whether they have ended
REMEDY = "more memory for each worker (--worker-memory GIB), or a cohort without this case"


def local_settings(count: int) -> dict[str, Any]:
    """Dask's, for a cluster of this machine: nothing is put on disk, no page is served, cores are shared evenly."""
    threads = max(1, CPU_COUNT // count)
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
        "distributed.worker.http.routes": [],
        "distributed.scheduler.http.routes": [],
        "distributed.scheduler.allowed-failures": MOST_KILLS - 1,
        # A busy machine is no lost worker, nor is a long step that lets no other thread run: processes are watched.
        "distributed.scheduler.worker-ttl": None,
        "distributed.comm.timeouts.connect": PATIENCE,
        "distributed.comm.timeouts.tcp": PATIENCE,
        # Not Dask's threshold for giving memory back: torch's temporaries were paged in anew, three times as slow.
        "distributed.nanny.pre-spawn-environ": {name: os.environ.get(name, str(threads)) for name in names},
        "logging": {"distributed": "critical"},
    }


@dataclass
class _Shift:
    """One job's cases on their way.

    Attributes:
        items: case -> what is known of it.
        left: cases that nobody works on.
        alone: those of them that stopped a worker together with others.
        suspects: those that stopped workers by themselves, or only waited in one that another case stopped: each is
            tried once more, at the end, when nothing else is under way.
        tried: those of them that were.
        running: what is under way.
        pace_s: seconds of the last cases, each.
    """

    items: Mapping[str, Any]
    left: deque[str] = field(default_factory=deque)
    alone: deque[str] = field(default_factory=deque)
    suspects: deque[str] = field(default_factory=deque)
    tried: set[str] = field(default_factory=set)
    running: dict[Future, list[str]] = field(default_factory=dict)
    pace_s: float = TASK_S

    def next_cases(self, places: int) -> list[str]:
        """Of the next message: one that stopped a worker, or as many as take about a second, fairly shared; none while
        a suspect must wait for others, or is under way."""
        if any(case in self.tried for cases in self.running.values() for case in cases):
            return []
        if self.alone:
            return [self.alone.popleft()]
        if not self.left:
            if self.running or not self.suspects:
                return []
            self.tried.add(self.suspects[0])
            return [self.suspects.popleft()]
        fair = -(-len(self.left) // places)
        count = max(1, min(MOST_CASES, fair, int(TASK_S / max(self.pace_s, 1e-6))))
        return [self.left.popleft() for _ in range(min(count, len(self.left)))]


class DaskCrew:
    """Worker processes that start with the first work; see `Crew`.

    Args:
        count: of worker processes on this machine.
        memory_gib: that each of them may take; one that takes more is stopped.
        scheduler: address of one that runs already; the other arguments then say nothing.
    """

    def __init__(self, count: int, memory_gib: float, scheduler: str | None = None) -> None:
        self.count, self.memory_gib, self.scheduler = count, memory_gib, scheduler
        self._cluster: LocalCluster | None = None
        self._client: Client | None = None

    def work(self, job: Job, items: Mapping[str, Any]) -> Generator[Outcome]:
        """See `Crew.work`. Cases of a lost worker are done again; one that stops its worker three times has failed."""
        client = self._connected()
        order = Order(job, uuid4().hex, str(Path.cwd()), bundle_version())
        shift, said = _Shift(items, deque(items)), set[Said]()
        try:
            while shift.left or shift.alone or shift.running or shift.suspects:
                self._send(client, order, shift)
                for future in _done(client, shift):
                    yield from _received(future, shift, said)
        finally:
            # Nobody writes into the folder when the command has ended.
            for future in shift.running:
                future.cancel()
            if shift.running:
                self._let_end(order.number)
                self.rest()

    def _let_end(self, number: str) -> None:
        """Wait for what workers of a scheduler have begun of a job: Dask cannot stop it."""
        if self._client is None or self._cluster is not None:
            return
        with suppress(Exception):  # workers that are gone write nothing
            while any(self._client.run(works_for, number).values()):
                logger.info("waiting for workers to end what they have begun")
                time.sleep(LOOKS_S)

    def rest(self) -> None:
        """Stop the workers of this machine, before a training, say; others let go of what they keep."""
        if self._client is not None and self._cluster is None:
            with suppress(Exception):  # a scheduler that is gone keeps nothing
                self._client.run(forget)
            return
        self.close()

    def close(self) -> None:
        """Stop what was started."""
        client, cluster, self._client, self._cluster = self._client, self._cluster, None, None
        with suppress(Exception):  # what does not stop in time is killed with this process
            if client is not None:
                client.close()
        with suppress(Exception):
            if cluster is not None:
                cluster.close()

    def _connected(self) -> Client:
        if self._client is not None:
            return self._client
        try:
            if self.scheduler is None:
                self._client = self._local_client()
            else:
                self._client = Client(self.scheduler, timeout=WAITS_S)
                self._client.wait_for_workers(1, timeout=WAITS_S)
        except (OSError, RuntimeError, ValueError) as error:
            self.close()
            raise BundleError(
                "there are no workers",
                stage=STAGE,
                expected="a scheduler with a worker at --scheduler, or --workers alone",
                found=error,
            ) from error
        return self._client

    def _local_client(self) -> Client:
        """On loopback alone, and encrypted: other users of the machine cannot give these processes work."""
        logger.info("%d workers, %g GiB each", self.count, self.memory_gib)
        dask.config.set(local_settings(self.count))
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        self._cluster = LocalCluster(
            n_workers=self.count,
            threads_per_worker=1,
            memory_limit=int(self.memory_gib * GIB),
            host="127.0.0.1",
            security=True,
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
        )
        return Client(self._cluster)

    def _send(self, client: Client, order: Order, shift: _Shift) -> None:
        """One message for each worker: cases that only wait in a worker would seem to have stopped it."""
        places = self.count if self.scheduler is None else max(1, len(client.nthreads()))
        while len(shift.running) < places and (cases := shift.next_cases(places)):
            future = client.submit(work_on, order, {case: shift.items[case] for case in cases}, pure=False)
            shift.running[future] = cases


def _done(client: Client, shift: _Shift) -> Iterable[Future]:
    """What came back; as long as nothing does, now and then whether there still is a worker."""
    try:
        while True:
            with suppress(AsyncTimeoutError):
                return wait(list(shift.running), timeout=SILENCE_S, return_when="FIRST_COMPLETED").done
            if not client.nthreads():
                logger.warning("the scheduler has no worker now; waiting for one")
    except (CancelledError, OSError) as error:  # at once, or when it is asked for its workers
        shift.running.clear()  # nobody can be asked whether they have ended
        raise BundleError(
            "the scheduler is gone", stage=STAGE, expected="one that runs; the same command then continues"
        ) from error


def _received(future: Future, shift: _Shift, said: set[Said]) -> Generator[Outcome]:
    """The outcomes of a message that came back; what stopped its worker goes again, case by case."""
    cases = shift.running.pop(future)
    try:
        report: Report = future.result()
    except KilledWorker as error:
        if len(cases) > 1:
            shift.alone.extend(cases)
            return
        if cases[0] not in shift.tried:
            shift.suspects.append(cases[0])
            return
        problem = "the case stopped its worker again and again"
        found = f"{error.allowed_failures + 1} workers that ended while they worked on it"
        failure = LostWorkersError(problem, stage=STAGE, case=cases[0], expected=REMEDY, found=found)
        yield Outcome(cases[0], error=failure)
        return
    for line in report.said:
        if line not in said:  # what each worker says as it starts is said once
            said.add(line)
            logging.getLogger(line.logger).log(line.level, "%s", line.message)
    shift.pace_s = report.seconds / len(cases)
    yield from report.outcomes
