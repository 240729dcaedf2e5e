"""The fault campaign, shortened: every so many of its trials."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.campaign.__main__ import summary
from tests.campaign.trials import Attempt, Lost, Trial, expect_end, run, tried
from tests.paths import ROOT


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "options"),
    [
        ("volumes", ["--every", "9"]),
        ("hostile", ["--every", "9"]),
        ("damage", ["--damages", "4", "--seed", "1"]),
        ("kills", ["--kills", "3", "--seed", "1"]),
    ],
)
def test_nothing_is_lost(tmp_path, part, options):
    """In a process of its own: its children must not inherit threads that computed something."""
    command = [sys.executable, "-m", "tests.campaign", "--parts", part, "--output", str(tmp_path / "tried"), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace")
    assert re.search(rf"^{part}: \d+ tried, 0 lost", done.stdout, re.MULTILINE), done.stdout + done.stderr


def test_a_trial_that_breaks_is_lost_and_its_folder_is_its_own(tmp_path):
    def right(folder: Path) -> str:
        (folder / "here").touch()
        return "right"

    def wrong(folder: Path) -> str:
        raise Lost(f"{len(list(folder.iterdir()))} files")

    def broken(folder: Path) -> str:
        raise ValueError("no number")

    trials = list(tried("part", [Attempt("a", right), Attempt("b", wrong), Attempt("c", broken)], tmp_path))
    assert [trial.lost for trial in trials] == ["", "0 files", "ValueError: no number"]


def test_a_part_in_numbers():
    trials = [
        Trial("kills", "infer killed after 0.10 s, 0.20 s", "", "identical after 2 kills"),
        Trial("kills", "paper killed after 1.00 s", "", "identical after 1 kills"),
        Trial("kills", "paper killed after 2.00 s", "not the same: x", ""),
    ]
    line = summary("kills", trials, 7)
    assert (line["tried"], line["kills"], line["survived"]) == (3, 3, {"identical": 2})
    assert line["lost"] == [["paper killed after 2.00 s", "not the same: x"]]


def test_a_command_that_ends_badly_says_how(tmp_path):
    ended = run(["evaluate", "--predictions", "nowhere", "--labels", "nowhere", "--classes", "a:1"], tmp_path)
    assert ended.refused
    with pytest.raises(Lost, match="exit 2: "):
        expect_end(ended)
