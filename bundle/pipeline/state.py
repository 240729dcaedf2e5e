"""`state.json`: when which stage ran, for how long and with how much memory. It decides nothing."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bundle.computing_device import hand_back_memory
from bundle.folder_lock import only_command_in
from scripts.common.errors import BundleError
from scripts.common.files import read_json, write_json
from scripts.common.schema import is_finite
from scripts.common.work_folder import WorkFolder

logger = logging.getLogger(__name__)

NOTED_EVERY_S = 30.0


class WorkDirectory:
    """The log of one output folder, in which one command works at a time.

    Args:
        work: the folder.
    """

    def __init__(self, work: WorkFolder) -> None:
        self.work = work

    @property
    def path(self) -> Path:
        """The folder itself."""
        return self.work.path

    def state(self) -> dict[str, dict[str, Any]]:
        """Stage -> {"done", "seconds", "peak_memory_mb"}, in the order of their first runs."""
        if not self.work.state.exists():
            return {}
        try:
            content = read_json(self.work.state)
        except BundleError as error:
            return self._damaged(error)
        if not isinstance(content, dict) or not all(map(_is_entry, content.values())):
            return self._damaged("not a table of stages")
        return content

    def run(self, title: str, action: Callable[[], bool]) -> bool:
        """Run the `action` of a stage, which says whether it had anything to do; returns that.

        Seconds add up over kills, but for the last `NOTED_EVERY_S` of each, not over changes.

        Raises:
            BundleError: another process works in this folder.
        """
        with only_command_in(self.work.path):
            state = self.state()
            before = state.get(title, {})
            finished = bool(before.get("done"))
            seconds_before = 0.0 if finished else float(before.get("seconds", 0.0))
            start = time.monotonic()

            def note() -> None:
                seconds = round(seconds_before + time.monotonic() - start, 1)
                self._write(state, title, {"done": False, "seconds": seconds})

            note()
            with _repeated(note, NOTED_EVERY_S):
                worked, peak_mb = with_peak_memory(action)
            if finished and not worked:
                self._write(state, title, before)
            else:
                seconds = round(seconds_before + time.monotonic() - start, 1)
                self._write(state, title, {"done": True, "seconds": seconds, "peak_memory_mb": peak_mb})
            if worked:
                logger.info("%s: finished in %.0f s", title, time.monotonic() - start)
            else:
                logger.info("%s: done before", title)
            return worked

    def _damaged(self, problem: object) -> dict[str, dict[str, Any]]:
        logger.warning("%s is damaged (%s): times and memory so far are lost", self.work.state, problem)
        return {}

    def _write(self, state: dict[str, dict[str, Any]], title: str, entry: dict[str, Any]) -> None:
        write_json(self.work.state, state | {title: entry})


@contextmanager
def _repeated(note: Callable[[], None], every_s: float) -> Iterator[None]:
    """Call `note` again and again meanwhile, beside what is done, and at the end if that fails.

    What cannot be noted decides nothing, so that it is no reason to stop.
    """
    over = threading.Event()

    def again() -> None:
        while not over.wait(every_s):
            with suppress(BundleError, OSError):
                note()

    beside = threading.Thread(target=again, daemon=True)
    beside.start()
    try:
        try:
            yield
        finally:
            over.set()
            beside.join()
    except BaseException:
        with suppress(BundleError, OSError):
            note()
        raise


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and is_finite(entry.get("seconds", 0.0))


def with_peak_memory(action: Callable[[], bool]) -> tuple[bool, float]:
    """Run `action`; its answer and the peak resident memory in MB during it (of the whole process, where the system
    cannot reset it)."""
    hand_back_memory()
    status: Path | None = Path("/proc/self/status")
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    except OSError:
        status = None
    worked = action()
    if status is not None:
        line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM"))
        return worked, round(int(line.split()[1]) / 1024, 1)
    return worked, round(_peak_memory_of_process_bytes() / 2**20, 1)


def _peak_memory_of_process_bytes() -> int:
    """The most that this process ever had."""
    if os.name == "nt":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
