"""Progress of a whole run: which stage of how many, how far it is, and how long the rest takes, as far as one knows."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from bundle.progress.live import LiveTable, is_terminal
from bundle.progress.stage import (
    DONE,
    FINISHED,
    RUNNING,
    STOPPED,
    WAITING,
    StageProgress,
    in_words,
    share_done,
    time_left,
)
from scripts.common.case_stage import CASES, listening
from scripts.common.errors import BundleError
from scripts.common.files import atomic_path, remove_file, write_json

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 1  # of docs/progress.schema.json
BETWEEN_WRITES_S, BETWEEN_LINES_S = 1.0, 30.0


class RunProgress:
    """Keeps `progress.json` while stages run; a terminal shows it as a live table, anything else gets plain lines.

    Args:
        file: the JSON file.
        clock: seconds, from anywhere.
    """

    def __init__(self, file: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.file, self.clock = file, clock
        self.stages: list[StageProgress] = []
        self._begun = self._written = self._said = 0.0
        self._is_ahead = self._is_more_to_come = self._is_stopped = False
        self._table = LiveTable(lambda: self.stages, clock)

    def begin(self, stages: Iterable[tuple[str, str]]) -> None:
        """The run consists of these stages: (name, kind) in their order."""
        self.stages = [StageProgress(name, kind) for name, kind in stages]
        self._begun, self._is_stopped = self.clock(), False

    def expects(self, names: Sequence[str]) -> bool:
        """Whether these are the stages that come next."""
        waiting = [stage.name for stage in self.stages if stage.state == WAITING]
        return waiting[: len(names)] == list(names)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Run within this the stages and what a command writes after them: the run is finished when this ends.

        An error after the stages stops the run, too. Without this a run is finished with its last stage.
        """

        def listener(*_: object) -> None:
            if self._is_past_stages and self.clock() - self._written >= BETWEEN_WRITES_S:
                self._write()

        self._is_more_to_come = True
        try:
            with listening(listener):
                yield
        except BaseException:
            self._is_stopped = True
            raise
        finally:
            self._is_more_to_come = False
            if any(stage.state != WAITING for stage in self.stages):
                self._write()

    @contextmanager
    def ahead(self, name: str) -> Iterator[None]:
        """Run within this what comes before the stages are known. Where it is refused, the file is left as it was."""
        before = self.file.read_bytes() if self.file.is_file() else None
        self.begin([(name, name)])
        self._written = self._said = self._begun  # nothing is written or said of what takes no time
        self._is_ahead, self.stages[0].state, self.stages[0].started = True, RUNNING, self._begun
        counted = _Counter(self.stages[0], self._begun, self.clock)

        def listener(unit: str, done: int, total: int) -> None:
            counted(unit, done, total)
            if self.clock() - self._begun >= BETWEEN_WRITES_S:
                self._table.start()
            self._tell(0)

        try:
            with listening(listener):
                yield
        except BaseException:
            if self._written > self._begun:
                self._put_back(before)
            raise
        finally:
            self._table.stop()
            self._is_ahead, self.stages = False, []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Run the next stage, called `name`, within this.

        Raises:
            BundleError: the file cannot be written at all; later on a stage is not stopped for that.
        """
        number = next(number for number, stage in enumerate(self.stages) if stage.state == WAITING)
        stage, start = self.stages[number], self.clock()
        stage.state, stage.started, self._said = RUNNING, start, start
        write_json(self.file, self.to_json())
        self._written = start
        counted = _Counter(stage, start, self.clock)

        def listener(unit: str, done: int, total: int) -> str:
            counted(unit, done, total)
            self._table.start()
            self._tell(number)
            return self.place(number)

        try:
            with listening(listener):
                logger.info("stage %d of %d, %s", number + 1, len(self.stages), stage.words)
                yield
            stage.state = DONE
        finally:
            self._table.stop()
            if stage.state == RUNNING:
                stage.state = STOPPED
            stage.seconds, stage.started = self.clock() - start, None
            self._write()

    def to_json(self) -> dict[str, Any]:
        """What docs/progress.schema.json says."""
        seconds, unknown = time_left(self.stages)
        share = 0.0 if self._is_ahead else share_done(self.stages)
        return {
            "schema_version": SCHEMA_VERSION,
            "state": self._state,
            "updated": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "share": round(share, 4),
            "seconds": round(self.clock() - self._begun, 1),
            "seconds_left": None if self._state == STOPPED else round(seconds, 1),
            "stages_not_estimated": unknown,
            "stages": [stage.to_json() for stage in self.stages],
        }

    def line(self, number: int) -> str:
        """The stage of this number, from 0, in words."""
        stage = self.stages[number]
        place = "" if self._is_ahead else f"stage {number + 1} of {len(self.stages)}, "
        return f"{place}{stage.name}: {stage.done} of {stage.total} {stage.unit}, {in_words(*time_left(self.stages))}"

    def place(self, number: int) -> str:
        """Where the whole run is, for whoever shows the stage of this number alone."""
        return f"stage {number + 1} of {len(self.stages)}, of the run {in_words(*time_left(self.stages))}"

    @property
    def _state(self) -> str:
        if self._is_stopped or any(stage.state == STOPPED for stage in self.stages):
            return STOPPED
        return FINISHED if self._is_past_stages and not self._is_more_to_come else RUNNING

    @property
    def _is_past_stages(self) -> bool:
        return bool(self.stages) and all(stage.state == DONE for stage in self.stages)

    def _tell(self, number: int) -> None:
        """Write and say how far a stage is, not too often; a terminal has a table, and a training its own lines."""
        now = self.clock()
        if now - self._written >= BETWEEN_WRITES_S:
            self._write()
        if now - self._said >= BETWEEN_LINES_S and self.stages[number].unit == CASES and not is_terminal():
            self._said = now
            logger.info("%s", self.line(number))

    def _put_back(self, before: bytes | None) -> None:
        with suppress(BundleError):
            if before is None:
                remove_file(self.file)
                return
            with atomic_path(self.file) as temporary:
                temporary.write_bytes(before)

    def _write(self) -> None:
        self._written = self.clock()
        with suppress(BundleError):
            write_json(self.file, self.to_json())


class _Counter:
    """Takes over what a stage says, and times it from the first time it says something."""

    def __init__(self, stage: StageProgress, start: float, clock: Callable[[], float]) -> None:
        self.stage, self.start, self.clock = stage, start, clock
        self.first: tuple[int, float] | None = None

    def __call__(self, unit: str, done: int, total: int) -> None:
        now, stage = self.clock(), self.stage
        if self.first is None or unit != stage.unit:
            self.first = done, now
        stage.unit, stage.done, stage.total = unit, done, total
        stage.seconds = now - self.start
        stage.timed, stage.timed_seconds = done - self.first[0], now - self.first[1]
