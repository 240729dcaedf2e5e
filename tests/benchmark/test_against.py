"""Another version is run from its own checkout, which is gone afterwards."""

import subprocess

import pytest

from bundle.benchmark.cost.against import measured_at, stored_reference
from bundle.benchmark.cost.speed import SPEED, SPEED_BEFORE
from bundle.benchmark.results import Results, result_line
from bundle.benchmark.tables.speed import speed_ratios
from scripts.common.errors import BundleError

STUBS = {
    "bundle/benchmark/cost/speed.py": 'TRIALS = ["a", "b", "c"]\n'
    "def measure(dataset, trials):\n"
    '    yield {"what": "head", "name": dataset}\n'
    '    yield from ({"what": "speed", "name": trial, "steps": {}} for trial in trials)\n',
    "bundle/benchmark/measure/machine.py": 'def made():\n    return {"commit": "old"}\n',
    "bundle/datasets/dataset.py": "read_dataset = str\n",
}


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    run = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return run.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    """A version that measures, and a later one that does not."""
    folder = tmp_path / "repository"
    for name, text in STUBS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "old")
    git(folder, "tag", "old")
    git(folder, "rm", "--quiet", "-r", "bundle")
    git(folder, "commit", "--quiet", "-m", "new")
    return folder


def test_the_other_versions_lines_are_those_of_before(tmp_path, repository):
    lines = list(measured_at("old", tmp_path, 2, repository))
    assert [(line["what"], line["name"], line["made"]["commit"]) for line in lines] == [
        (SPEED_BEFORE, "a", "old"),
        (SPEED_BEFORE, "b", "old"),
    ]
    assert len(git(repository, "worktree", "list").splitlines()) == 1


@pytest.mark.parametrize(("reference", "problem"), [("none", "no such version"), ("HEAD", "could not be measured")])
def test_a_version_that_cannot_be_measured_is_an_error(tmp_path, repository, reference, problem):
    with pytest.raises(BundleError, match=problem):
        list(measured_at(reference, tmp_path, 1, repository))
    assert len(git(repository, "worktree", "list").splitlines()) == 1


def line(what, seconds, commit="abc"):
    return result_line(what, "small", steps={"masks": {"cpu_s": seconds}}, made={"commit": commit})


def test_the_version_compared_with_last_is_taken_again():
    assert stored_reference(Results((line(SPEED_BEFORE, 4.0, "abc-dirty"),))) == "abc"
    with pytest.raises(BundleError, match="no version to compare with"):
        stored_reference(Results((line(SPEED, 4.0),)))


def test_ratios_are_of_steps_that_both_versions_have():
    assert speed_ratios(Results((line(SPEED_BEFORE, 4.0), line(SPEED, 3.0)))) == ["small, masks: 0.75 of what it took"]
    assert speed_ratios(Results((line(SPEED, 3.0),))) == speed_ratios(Results((line(SPEED_BEFORE, 0.0),))) == []
