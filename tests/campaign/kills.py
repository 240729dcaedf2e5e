"""Runs that are killed at random moments, again and again, and then go on to their end."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.campaign.runs import Runs
from tests.campaign.trials import KILLED, Attempt, Lost, expect_end, run
from tests.same_results import differing

PART = "kills"
SHARE = {"default": 0.35, "paper": 0.3, "support-mask": 0.1, "infer": 0.15, "package": 0.1}  # of all kills
MOST_PER_RUN = 3
EARLIEST_S = 0.05


@dataclass(frozen=True)
class Undisturbed:
    """A run that nothing disturbed: its output and how long it took."""

    output: Path
    seconds: float


def attempts(runs: Runs, folder: Path, count: int, seed: int) -> Iterator[Attempt]:
    """`count` kills over all commands, up to `MOST_PER_RUN` of them in one run."""
    rng = random.Random(seed)
    for name, share in SHARE.items():
        left = round(share * count)
        whole = _undisturbed(runs, folder / "undisturbed" / name, name) if left else None
        while left and whole:
            kills = min(left, rng.randint(1, MOST_PER_RUN))
            moments_s = [rng.uniform(EARLIEST_S, whole.seconds / kills) for _ in range(kills)]
            left -= kills
            label = ", ".join(f"{moment_s:.2f} s" for moment_s in moments_s)
            yield Attempt(f"{name} killed after {label}", partial(_killed, runs, name, whole, moments_s))


def kills_of(outcome: str) -> int:
    """How many kills hit a run before its end."""
    return int(outcome.split()[2]) if outcome.startswith("identical after") else 0


def _undisturbed(runs: Runs, folder: Path, name: str) -> Undisturbed:
    folder.mkdir(parents=True)
    start = time.monotonic()
    expect_end(run(runs.command(name, folder / "out"), folder))
    return Undisturbed(folder / "out", time.monotonic() - start)


def _killed(runs: Runs, name: str, whole: Undisturbed, moments_s: list[float], folder: Path) -> str:
    command, deaths = runs.command(name, folder / "out"), 0
    for moment_s in moments_s:
        deaths += run(command, folder, kill_after_s=moment_s).status is KILLED
    expect_end(run(command, folder))
    if different := differing(folder / "out", whole.output):
        raise Lost(f"not the same: {', '.join(different[:3])}")
    if left := sorted(_hidden(folder / "out") - _hidden(whole.output)):
        raise Lost(f"left behind: {', '.join(left[:3])}")
    shutil.rmtree(folder / "out")
    return f"identical after {deaths} kills"


def _hidden(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob(".*")}
