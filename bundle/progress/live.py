"""A run on a terminal: one table of all its stages that stays in place while lines scroll above it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from bundle.progress.stage import RUNNING, WAITING, StageProgress, in_words, time_left

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

REFRESHES_A_SECOND = 2
COLUMNS, WHAT_IT_DOES = 6, 2
BAR_WIDTH = 12
STYLES = {RUNNING: "bold", WAITING: "dim"}


def is_terminal() -> bool:
    """Whether somebody looks at what is printed."""
    return sys.stdout.isatty()


class LiveTable:
    """The table, from the first moment in which there is something to tell until the stage at work ends.

    Args:
        stages: of the run, as they are now.
        clock: the one that they are timed by.
    """

    def __init__(self, stages: Callable[[], Sequence[StageProgress]], clock: Callable[[], float]) -> None:
        self.stages, self.clock = stages, clock
        self._live: Live | None = None

    def start(self) -> None:
        """Show it, unless it is there, or nobody looks."""
        if self._live is not None or not is_terminal():
            return
        from rich.console import Console
        from rich.live import Live

        console = Console(file=sys.stdout)
        self._live = Live(
            get_renderable=lambda: table(self.stages(), self.clock()),
            console=console,
            refresh_per_second=REFRESHES_A_SECOND,
            transient=True,
            redirect_stderr=sys.stderr.isatty(),
        )
        self._live.start()
        console.show_cursor(True)  # a process that is killed could not bring it back

    def stop(self) -> None:
        """Take it away; what was printed meanwhile stays."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def table(stages: Sequence[StageProgress], now: float) -> RenderableType:
    """Every stage, what it does, how far it is and how long it took; below that, what is left of the run."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    rows = Table.grid(padding=(0, 2), expand=True)
    for column in range(COLUMNS):  # one line a stage: where the terminal is narrow, what a stage does is cut short
        rows.add_column(no_wrap=True, ratio=1 if column == WHAT_IT_DOES else None)
    for number, stage in enumerate(stages, start=1):
        units = f"{stage.done} of {stage.total} {stage.unit}" if stage.unit else ""
        bar = ProgressBar(total=1.0, completed=stage.share, width=BAR_WIDTH) if stage.state == RUNNING else stage.state
        seconds = stage.seconds if stage.started is None else now - stage.started
        taken = "" if stage.state == WAITING else str(timedelta(seconds=round(seconds)))
        cells = f"{number}/{len(stages)}", stage.name, stage.work, bar, units, taken
        rows.add_row(*cells, style=STYLES.get(stage.state, ""))
    return Group(rows, Text(in_words(*time_left(stages)), style="bold"))
