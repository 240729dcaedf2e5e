"""What one case costs by another version of this repository, measured on the same machine: by running that version."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bundle.benchmark.cost.speed import SPEED, SPEED_BEFORE
from bundle.benchmark.results import MADE, Line, Results, read_results
from scripts.common.errors import BundleError

STAGE = "benchmark"
# Runs in the other version's folder, so that what it imports is that version's.
MEASURE = """
import json, sys
from pathlib import Path
try:
    from bundle.benchmark.cost import speed
except ImportError:  # versions before that folder
    from bundle.benchmark.measure import speed
from bundle.benchmark.measure.machine import made
from bundle.datasets.dataset import read_dataset
dataset, trials, file = read_dataset(Path(sys.argv[1])), speed.TRIALS[: int(sys.argv[2])], Path(sys.argv[3])
with file.open("w") as lines:
    for line in speed.measure(dataset, trials=trials):
        lines.write(json.dumps({**line, "made": made()}) + "\\n")
"""


def measured_at(reference: str, dataset: Path, trials: int, repository: Path) -> Iterator[Line]:
    """The lines of another version's first trials, as those of the version before.

    Args:
        reference: a commit, tag or branch.
        dataset: its folder.
        trials: how many.
        repository: a checkout.

    Raises:
        BundleError: there is no such version, or it measures no speed.
    """
    with _checked_out(reference, repository) as (root, folder):
        file = folder / "speed.jsonl"
        command = [sys.executable, "-c", MEASURE, str(dataset.absolute()), str(trials), str(file)]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        if subprocess.run(command, cwd=root, env=environment, check=False).returncode:
            raise BundleError(
                "that version could not be measured",
                stage=STAGE,
                expected="one with `benchmark speed`",
                found=reference,
            )
        for line in read_results(file).of(SPEED):
            yield {**line, "what": SPEED_BEFORE}


def stored_reference(results: Results) -> str:
    """The commit that this version was last compared with.

    Raises:
        BundleError: it was compared with none.
    """
    commits = [line[MADE]["commit"] for line in results.of(SPEED_BEFORE) if line[MADE]["commit"]]
    if not commits:
        raise BundleError("there is no version to compare with yet", stage=STAGE, expected="--against COMMIT")
    return str(commits[-1]).removesuffix("-dirty")


@contextmanager
def _checked_out(reference: str, repository: Path) -> Iterator[tuple[Path, Path]]:
    """A checkout of a version, and a folder beside it; both are gone afterwards."""
    with TemporaryDirectory() as folder:
        root = Path(folder) / "checkout"
        try:
            _git(repository, "worktree", "add", "--detach", str(root), reference)
        except (OSError, subprocess.CalledProcessError) as error:
            reason = (getattr(error, "stderr", "") or str(error)).strip()
            raise BundleError(
                "there is no such version",
                stage=STAGE,
                expected="a commit, tag or branch of this checkout",
                found=reason,
            ) from error
        try:
            yield root, Path(folder)
        finally:
            _git(repository, "worktree", "remove", "--force", str(root))


def _git(repository: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=repository, check=True, capture_output=True, text=True)
