"""The live table of a terminal: what stands in it, and that it is there only while somebody can look at it."""

import io
import sys

import pytest
from rich.console import Console

from bundle.progress import live
from bundle.progress.live import LiveTable, table
from bundle.progress.stage import DONE, RUNNING, StageProgress

STAGES = (
    StageProgress("first_round", "first_round", DONE, 61.0, "cases", 4, 4, timed=4, timed_seconds=60.0),
    StageProgress("label_fusion", "label_fusion", RUNNING, 5.0, "cases", 1, 4, 1, 40.0, started=100.0),
    StageProgress("predictions", "pseudo_labels"),
)


def shown(stages, now, width=120):
    console = Console(file=io.StringIO(), width=width)
    console.print(table(stages, now))
    return console.file.getvalue().splitlines()


def test_every_stage_stands_in_the_table_with_what_it_does_and_how_far_it_is():
    first, second, third, left = shown(STAGES, now=142.0)
    for words in ("1/3", "first_round", "labels sent from the support alone", "done", "4 of 4 cases", "0:01:01"):
        assert words in first
    for words in ("2/3", "labels sent from several atlases and fused", "1 of 4 cases", "0:00:42"):
        assert words in second
    assert "label maps grown from probabilities" in third and "waiting" in third and "0:00" not in third
    assert left.strip() == "2 min left and 1 stage of unknown length", "three cases of 40 s"


def test_on_a_narrow_terminal_a_stage_still_has_one_line():
    assert [line[:3] for line in shown(STAGES, 142.0, width=70)[:3]] == ["1/3", "2/3", "3/3"]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_lines_printed_meanwhile_stay_and_the_table_goes(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    display = LiveTable(lambda: STAGES, lambda: 142.0)
    display.start()
    display.start()
    print("case 1 has a remark")
    display.stop()
    assert sys.stdout is terminal, "as it was"
    text = terminal.getvalue()
    assert "case 1 has a remark" in text and "first_round" in text
    assert text.rindex("\x1b[2K") > text.rindex("first_round"), "its lines are erased at last"
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l"), "the cursor is back"


def test_in_a_pipe_there_is_none(monkeypatch):
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stdout", pipe)
    display = LiveTable(lambda: pytest.fail("nobody looks"), lambda: 0.0)
    display.start()
    display.stop()
    assert not live.is_terminal() and pipe.getvalue() == ""
