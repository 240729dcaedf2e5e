"""The workers that a command line asks for."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from bundle.arguments import AUTO
from scripts.common.errors import BundleError

logger = logging.getLogger(__name__)

LEAST_GIB, USUAL_GIB = 0.5, 4.0  # torch alone takes almost as much as the least
MOST_GIB = 2.0**20  # more than any machine has


def workers_of(options: argparse.Namespace) -> AbstractContextManager[None]:
    """Those that the options ask for; none, and nothing imported, where this process is to do all itself."""
    count, scheduler = getattr(options, "workers", 1), getattr(options, "scheduler", None)
    memory_gib = getattr(options, "worker_memory", None)
    if memory_gib is not None and (count == 1 or scheduler is not None):
        expected = "--workers N or auto; workers of a scheduler have their limit from what starts them"
        raise BundleError("--worker-memory is of no use without --workers", stage="settings", expected=expected)
    if count == 1 and scheduler is None:
        return nullcontext()
    return workers_at_work(count, USUAL_GIB if memory_gib is None else memory_gib, scheduler, options.device)


@contextmanager
def workers_at_work(count: int | str, memory_gib: float, scheduler: str | None, device: str | None) -> Iterator[None]:
    """Let workers do what is done meanwhile case by case; they stop with the block.

    Args:
        count: of processes on this machine, or "auto".
        memory_gib: that each of them may take.
        scheduler: address of a scheduler whose workers are taken instead.
        device: see `affordable_workers`.

    Raises:
        BundleError: too little memory for a worker, or Dask is not there.
    """
    if not LEAST_GIB <= memory_gib < MOST_GIB:
        raise BundleError(
            "a worker cannot have this memory",
            stage="settings",
            expected=f"--worker-memory of {LEAST_GIB:g} to {MOST_GIB:g}",
            found=f"{memory_gib:g}",
        )
    try:
        from bundle.workers.capacity import affordable_workers
        from bundle.workers.cluster import DaskCrew
        from scripts.common.sharing.crew import crew_at_work
    except ImportError as error:
        raise BundleError(
            "workers need the package distributed", stage="settings", expected="pip install distributed", found=error
        ) from error
    if count == AUTO and scheduler is None:
        count = affordable_workers(memory_gib, device)
        logger.info("workers: %d, by cores and memory", count)
        if count == 1:
            yield
            return
    crew = DaskCrew(int(count), memory_gib, scheduler)
    try:
        with crew_at_work(crew):
            yield
    finally:
        crew.close()
