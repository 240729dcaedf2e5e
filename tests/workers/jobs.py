"""Jobs that worker processes of the tests can import."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scripts.common.errors import BundleError

logger = logging.getLogger("scripts.jobs")


@dataclass(frozen=True)
class Counting:
    """Twice each number; says how often it was started in `folder`."""

    folder: Path

    def start(self) -> Callable[[int], int]:
        with (self.folder / "started").open("a", encoding="utf-8") as file:
            file.write(f"{os.getpid()}\n")
        logger.info("starts")
        return self.work

    def work(self, number: int) -> int:
        if number < 0:
            raise BundleError("below zero", found=number)
        logger.warning("at %d", number)
        return 2 * number


@dataclass(frozen=True)
class Killing:
    """Kills its process at some numbers: at 7 the first time only, at 13 always."""

    folder: Path

    def start(self) -> Callable[[int], int]:
        return self.work

    def work(self, number: int) -> int:
        mark = self.folder / f"killed_{number}"
        if number == 13 or (number == 7 and not mark.exists()):
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return 2 * number


class Unstartable:
    """Lacks what its cases share."""

    def start(self) -> Callable[[int], int]:
        raise BundleError("nothing to start from", stage="test")


@dataclass(frozen=True)
class Writing:
    """Takes its time before it writes a file for each number."""

    folder: Path
    seconds: float

    def start(self) -> Callable[[int], int]:
        return self.work

    def work(self, number: int) -> int:
        (self.folder / f"begun_{number}").touch()
        time.sleep(self.seconds * number)
        (self.folder / f"ended_{number}").touch()
        return number
