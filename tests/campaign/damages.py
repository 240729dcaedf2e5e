"""Finished work folders of which one file is damaged; the same command mends it and says so, or refuses."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from tests.campaign.runs import oneshot
from tests.campaign.trials import Attempt, Lost, expect_end, last_line, run
from tests.damage import damage
from tests.same_results import differing

PART = "damage"
KINDS = ("missing", "cut", "changed", "empty", "a folder")
SAYS = re.compile(r"made again|done again|damaged|missing|no record|continuing|changed|rewritten", re.IGNORECASE)
# Read by people, or by nobody once done; or written by every run from what the command says.
SILENT = (
    *("state.json", "report", "curve.csv", "tensorboard", "checkpoints"),
    *("run.json", "cohort.json", "scribble_remarks.json", "made_by", "labels/"),
    *("results.json", "results.csv", "final_labels.json", "progress.json"),
)
ON_THE_WAY = "segmentation/labels/"  # of no use to a training that is done


def attempts(cohort: Path, finished: dict[str, Path], count: int, seed: int) -> Iterator[Attempt]:
    """Every kind of file that a run of each mode leaves, in every kind of damage; `count` of them drawn."""
    kinds = [
        (mode, file, kind) for mode, output in finished.items() for file in _one_of_each_kind(output) for kind in KINDS
    ]
    chosen = sorted(random.Random(seed).sample(kinds, min(count, len(kinds))))
    for mode, file, kind in chosen:
        yield Attempt(f"{mode}: {file}, {kind}", partial(_damaged, cohort, mode, finished[mode], file, kind))


def _one_of_each_kind(output: Path) -> Sequence[str]:
    """A file for every place and ending, the cases' names and numbers aside."""
    names = sorted(str(path.relative_to(output)) for path in output.rglob("*") if path.is_file())
    return list({re.sub(r"phantom_0[1-9]|\d{3,}", "N", name): name for name in names}.values())


def _damaged(cohort: Path, mode: str, finished: Path, name: str, kind: str, folder: Path) -> str:
    output = folder / "out"
    shutil.copytree(finished, output)
    _damage(output / name, kind)
    ended = run(oneshot(cohort, output, mode), folder)
    refused = ended.refused and name in ended.text
    if refused:
        _remove(output / name)
        ended = run(oneshot(cohort, output, mode), folder)
    expect_end(ended)
    if different := [other for other in differing(output, finished) if not other.startswith(ON_THE_WAY)]:
        raise Lost(f"not mended: {', '.join(different[:3])}")
    if not SAYS.search(ended.text) and not any(part in name for part in SILENT):
        raise Lost(f"mended in silence: {last_line(ended.text)}")
    shutil.rmtree(output)
    return "mended once the named file was removed" if refused else "mended"


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _damage(file: Path, kind: str) -> None:
    if kind == "empty":
        file.write_bytes(b"")
    elif kind == "a folder":
        file.unlink()
        file.mkdir()
    else:
        damage(file, kind)
