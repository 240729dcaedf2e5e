"""What one trial is, how its command runs, and what counts as survived."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bundle.command_line import main

KILLED = None
PATIENCE_S = 300.0
ERROR = "error: "


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        status: its exit status; `KILLED` where it was.
        text: all that it printed.
    """

    status: int | None
    text: str

    @property
    def refused(self) -> bool:
        """Whether it ended with one clear error and nothing else."""
        return self.status == 2 and self.text.count(ERROR) == 1 and "Traceback" not in self.text


@dataclass(frozen=True)
class Trial:
    """One thing that was tried.

    Attributes:
        part: of the campaign.
        name: what was done.
        lost: why it counts as lost; empty where it was survived.
        outcome: how it was survived, in a word or two.
    """

    part: str
    name: str
    lost: str
    outcome: str


@dataclass(frozen=True)
class Attempt:
    """A trial that is not made yet: `make` returns the outcome, or raises `Lost`."""

    name: str
    make: Callable[[Path], str]


class Lost(Exception):
    """The trial was not survived, and why."""


def tried(part: str, attempts: Iterable[Attempt], folder: Path) -> Iterable[Trial]:
    """Make each attempt in a folder of its own below `folder`."""
    for number, attempt in enumerate(attempts):
        place = folder / part / f"{number:03d}"
        place.mkdir(parents=True, exist_ok=True)
        lost, outcome = "", ""
        try:
            outcome = attempt.make(place)
        except Lost as reason:
            lost = str(reason)
        except Exception as error:  # a trial that breaks says as much about the software as one that is lost
            lost = f"{type(error).__name__}: {error}"
        yield Trial(part, attempt.name, lost, outcome)


def run(
    command: Sequence[str], folder: Path, kill_after_s: float | None = None, patience_s: float = PATIENCE_S
) -> Ended:
    """Run a command of the bundle in a process of its own, which shares what is imported already.

    Args:
        command: see `bundle.command_line.main`.
        folder: where its output is kept, `output.txt`, and where it runs.
        kill_after_s: when it is killed as by kill -9; never by default.
        patience_s: after which it counts as hung.

    Raises:
        Lost: it hung.
    """
    log = folder / "output.txt"
    sys.stdout.flush(), sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _run_child(command, log)
    status = _wait(child, kill_after_s, patience_s)
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return Ended(status, text)


def expect_end(ended: Ended) -> Ended:
    """What ended well.

    Raises:
        Lost: anything else.
    """
    if ended.status != 0:
        raise Lost(f"exit {ended.status}: {last_line(ended.text)}")
    return ended


def last_line(text: str) -> str:
    """The last line that says something."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip()[:200] if lines else "nothing said"


def _run_child(command: Sequence[str], log: Path) -> None:
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", errors="surrogateescape", buffering=1)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="surrogateescape", buffering=1)
    status = 0
    try:
        main(list(command))
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
        status = 1
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(status)


def _wait(child: int, kill_after_s: float | None, patience_s: float) -> int | None:
    start = time.monotonic()
    limit_s = patience_s if kill_after_s is None else kill_after_s
    while time.monotonic() - start < limit_s:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    if kill_after_s is None:
        raise Lost(f"hung for {patience_s:.0f} s")
    return KILLED
