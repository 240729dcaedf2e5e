"""One line per epoch with the remaining time, and the training curve as a CSV file."""

from __future__ import annotations

import csv
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path

from ignite.engine import Engine, Events
from monai.handlers import from_engine
from monai.utils import CommonKeys

from scripts.common.case_stage import EPOCHS, advance
from scripts.common.errors import BundleError
from scripts.common.files import atomic_path

logger = logging.getLogger(__name__)

LOSS = from_engine([CommonKeys.LOSS], first=True)


class ProgressReporter:
    """Ignite handler: logs loss and remaining time after every epoch and keeps `curve_file`.

    The file is rewritten whole after each epoch; when a run resumes, rows after the resumed epoch are dropped.

    Args:
        curve_file: CSV with the columns epoch, seconds (of all runs together), train_loss and those of `extra`.
        name: what is being trained, for the log.
        extra: called after each epoch; its numbers become further columns. An empty value stays empty.
    """

    def __init__(self, curve_file: str | Path, name: str, extra: Callable[[], dict[str, float]] | None = None) -> None:
        self.curve_file = Path(curve_file)
        self.name = name
        self.extra = extra
        self.rows: list[dict[str, str]] = []
        self._sum = 0.0
        self._count = 0
        self._epoch_start = 0.0

    def attach(self, engine: Engine) -> None:
        """Register on the training engine."""
        engine.add_event_handler(Events.EPOCH_STARTED, self.start_epoch)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.add_loss)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.finish_epoch)

    def start_epoch(self, engine: Engine) -> None:
        """Reset the running mean; take over the rows of earlier epochs, also those a former run left."""
        self._sum, self._count, self._epoch_start = 0.0, 0, time.monotonic()
        advance(EPOCHS, engine.state.epoch - 1, engine.state.max_epochs or 0)
        self.rows = []
        if self.curve_file.exists():
            with self.curve_file.open(newline="") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["epoch"]) < engine.state.epoch]

    def add_loss(self, engine: Engine) -> None:
        """Add one iteration's loss.

        Raises:
            BundleError: it is no finite number. All weights are lost then, and checkpoints of them would replace the
                last good ones.
        """
        loss = float(LOSS(engine.state.output))
        if not math.isfinite(loss):
            raise BundleError(
                f"the loss of the {self.name} is no finite number any more",
                stage="training",
                expected="a smaller learning_rate, or bfloat16 false",
                found=f"{loss} in epoch {engine.state.epoch}",
            )
        self._sum += loss
        self._count += 1

    def finish_epoch(self, engine: Engine) -> None:
        """Append a row, rewrite the file, log the line."""
        before = float(self.rows[-1]["seconds"]) if self.rows else 0.0
        seconds = before + time.monotonic() - self._epoch_start
        epoch, last = engine.state.epoch, engine.state.max_epochs or 0
        whole_run = advance(EPOCHS, epoch, last)
        values = {"train_loss": self._sum / max(self._count, 1), **(self.extra() if self.extra else {})}
        row = {"epoch": str(epoch), "seconds": f"{seconds:.1f}"}
        row |= {key: "" if value is None else f"{value:.6g}" for key, value in values.items()}
        self.rows.append(row)
        self._write()
        remaining = seconds / max(len(self.rows), 1) * (last - epoch)
        shown = ", ".join(f"{key} {value}" for key, value in row.items() if key not in ("epoch", "seconds"))
        told = f"{shown}, about {_minutes(remaining)} left{whole_run and f' ({whole_run})'}"
        logger.info("%s: epoch %d/%d, %s", self.name, epoch, last, told)

    def _write(self) -> None:
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        with atomic_path(self.curve_file) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, restval="")
            writer.writeheader()
            writer.writerows(self.rows)


def metrics_of(evaluator: Engine) -> Callable[[], dict[str, float]]:
    """The evaluator's metrics as an `extra` for `ProgressReporter`; nothing for epochs in which it did not run."""

    def take() -> dict[str, float]:
        metrics, evaluator.state.metrics = dict(evaluator.state.metrics), {}
        return metrics

    return take


def _minutes(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"
