"""The fault campaign, shortened: every so many of its trials."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.campaign import damages, hostile, kills, volumes
from tests.campaign.__main__ import summary
from tests.campaign.runs import Runs, make_cohort, oneshot
from tests.campaign.trials import Attempt, Lost, Trial, expect_end, run, tried

EVERY = 9


def lost(part, attempts, folder):
    """Name and reason of every trial that was lost."""
    return [(trial.name, trial.lost) for trial in tried(part, attempts, folder) if trial.lost]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A cohort and the output of a run over it that nothing disturbed."""
    folder = tmp_path_factory.mktemp("campaign")
    cohort, output = make_cohort(folder / "cohort"), folder / "finished" / "out"
    output.parent.mkdir()
    expect_end(run(oneshot(cohort, output, "paper"), folder))
    return cohort, output


@pytest.mark.slow
def test_odd_volumes_are_right_or_told(tmp_path):
    assert lost(volumes.PART, list(volumes.attempts())[::EVERY], tmp_path) == []


@pytest.mark.slow
def test_hostile_strings_run_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert lost(hostile.PART, list(hostile.attempts())[::EVERY], tmp_path) == []


@pytest.mark.slow
def test_damaged_folders_are_mended(finished, tmp_path):
    cohort, output = finished
    assert lost(damages.PART, damages.attempts(cohort, {"paper": output}, 4, seed=1), tmp_path) == []


@pytest.mark.slow
def test_killed_runs_end_the_same(finished, tmp_path):
    cohort, output = finished
    runs = Runs(cohort, output / "segmentation")
    attempts = [attempt for attempt in kills.attempts(runs, tmp_path, 4, seed=1) if "paper" not in attempt.name]
    assert lost(kills.PART, attempts, tmp_path) == []


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
