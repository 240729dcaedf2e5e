"""How time, memory and files grow with the number of cases, on very small volumes made by seed."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from math import log
from pathlib import Path
from typing import Any

from bundle.benchmark.measure.stopwatch import measured
from bundle.benchmark.results import HEAD, result_line
from bundle.datasets.small_volumes import BACKGROUND, CLASSES, SHAPE, SPACING_MM, write_small_volumes
from bundle.pipeline.modes import weights_folder
from bundle.pipeline.pipeline import Pipeline
from bundle.pipeline.settings import RunSettings
from bundle.report.page import write_report

logger = logging.getLogger(__name__)

COUNTS = (100, 1_000, 10_000)
TRANSFERRED = 100  # cases that labels are also transferred to; more take hours
WEIGHTS = "abdomen_ct"
STEP, GROWTH, EXTRAPOLATED = "step", "growth", "extrapolated"
CACHE, AGAIN, TRANSFER, NOTHING_LEFT = "check and cache", "check again", "transfer", "transfer, all up to date"
REPORT, REPORT_AGAIN = "table and report", "table and report again"


def measure(
    output: Path, counts: Sequence[int] = COUNTS, transferred: int = TRANSFERRED, seed: int = 0
) -> Iterator[dict[str, Any]]:
    """The lines of the raw results: each step at each count, how it grows, and what larger counts would take.

    Args:
        output: for volumes and runs; what was made there before is made again.
        counts: numbers of cases, ascending.
        transferred: labels are transferred in cohorts of at most so many cases, with shipped weights.
        seed: of the volumes.
    """
    yield result_line(HEAD, "cohort_size", shape=list(SHAPE), spacing_mm=SPACING_MM, seed=seed, weights=WEIGHTS)
    seconds: dict[str, dict[int, float]] = {}
    for count in counts:
        for line in _measured(output, count, count <= transferred, seed):
            seconds.setdefault(line["step"], {})[count] = line["cpu_seconds"]
            yield line
    for step, by_count in seconds.items():
        yield from _of_growth(step, by_count, max(counts))


def _measured(output: Path, count: int, transfers: bool, seed: int) -> Iterator[dict[str, Any]]:
    output = output / "cohort_size"  # what is removed below is ours
    images, scribbles = write_small_volumes(output / f"volumes_{count}", count, seed)
    work = output / f"run_{count}"
    shutil.rmtree(work, ignore_errors=True)
    settings = RunSettings(
        output=work,
        images=images,
        support=images / "small_00000.nii.gz",
        scribbles=scribbles,
        classes=CLASSES,
        background=BACKGROUND,
        small=True,
        weights=weights_folder(WEIGHTS, "default", True),
    )

    def reported() -> None:
        Pipeline(settings).write_results(final=False)
        write_report(work)

    def prepared() -> None:
        Pipeline(settings)

    steps: list[tuple[str, Callable[[], Any]]] = [(CACHE, prepared), (AGAIN, prepared)]
    if transfers:  # without labels there is nothing to report
        steps += [(name, lambda: Pipeline(settings).propagate()) for name in (TRANSFER, NOTHING_LEFT)]
        steps += [(REPORT, reported), (REPORT_AGAIN, reported)]
    for step, action in steps:
        yield _step(step, count, action, work)


def _step(step: str, count: int, action: Callable[[], Any], work: Path) -> dict[str, Any]:
    cost = measured(action)
    largest = _largest_files(work)
    logger.info("%d cases, %s: %.1f s of CPU, %.0f MB", count, step, cost["cpu_s"], cost["peak_mb"])
    return result_line(
        STEP,
        f"{step}, {count} cases",
        step=step,
        cases=count,
        cpu_seconds=cost["cpu_s"],
        seconds=cost["wall_s"],
        ms_per_case=round(1000 * cost["cpu_s"] / count, 2),
        peak_memory_mb=cost["peak_mb"],
        shared_files_bytes=largest,
        mean_record_bytes=_mean_record_bytes(work, count),
    )


def _largest_files(work: Path) -> dict[str, int]:
    """Files that speak of all cases -> size."""
    names = ("cohort.json", "results.json", "results.csv", "report/index.html", "progress.json", "state.json")
    return {name: (work / name).stat().st_size for name in names if (work / name).exists()}


def _mean_record_bytes(work: Path, count: int) -> int:
    """Of all that speaks of one case, each; of a file that grew with the cohort it would grow, too."""
    total = 0
    for folder, _, files in os.walk(work):
        if folder != str(work):
            total += sum((Path(folder) / name).stat().st_size for name in files if name.endswith(".json"))
    return total // count


def _of_growth(step: str, seconds: dict[int, float], most: int) -> Iterator[dict[str, Any]]:
    """The exponent between the two largest counts, 1 where time is linear; and what was not measured, if so."""
    counts = sorted(seconds)
    if len(counts) > 1:
        fewer, more = counts[-2:]
        exponent = log(max(seconds[more], 1e-3) / max(seconds[fewer], 1e-3)) / log(more / fewer)
        yield result_line(GROWTH, step, step=step, cases=[fewer, more], exponent=round(exponent, 3))
    if counts[-1] < most:
        linear = seconds[counts[-1]] * most / counts[-1]
        about = "not measured: linear from the largest count that was"
        yield result_line(
            EXTRAPOLATED, step, step=step, cases=most, measured_cases=counts[-1], cpu_seconds=round(linear), about=about
        )
