"""Organs painted whole on a few slices, beside strokes: masks of the supports, label maps, the self-check."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from bundle.benchmark.results import PAINTED, Cohort, Line, Results
from bundle.benchmark.tables import captions
from bundle.benchmark.tables.markdown import NOTHING, number, table
from bundle.benchmark.tables.self_check import JUDGED, all_classes_of_each_support, trust_cells


def painted_section(painted: Results, strokes: Results) -> str:
    """A row for each support and way to draw; `strokes` are the results of `benchmark default`."""
    name, count = painted.head["name"], painted.head["painted_slices"]
    by_strokes = _by_support(strokes)
    rows = []
    for run in painted.of(PAINTED):
        if (before := by_strokes.get(run["support"])) is not None:
            rows.append([f"`{run['support']}`, strokes", *_cells(before)])
        rows.append([f"`{run['support']}`, {count} slices", *_cells(run)])
    words = (
        f"{captions.command('painted', name)}; {captions.data(painted)}; {captions.SCORED}, but for what is painted: "
        f"each class of the support's true label map, whole, on {count} slices from its first to its last; by the "
        f"shipped embedding network and the atlases alone, every class at once; {captions.origin(painted.lines)}. "
        f"Strokes: their rows are those of `benchmark default`. Dice of the support mask on the support, and of the "
        f"label maps of the test volumes. {captions.raw(name, 'painted')}"
    )
    return "\n\n".join(
        ["## Painted slices instead of strokes", words, table(["", "support mask", "label maps", *JUDGED], rows)]
    )


def painted_in_short(cohorts: Mapping[str, Cohort]) -> str:
    """A sentence on all cohorts that were painted; "" where none was."""
    parts, count = [], 0
    for name, cohort in cohorts.items():
        painted = cohort.get("painted", Results())
        before = _by_support(cohort.get("default", Results()))
        runs = [run for run in painted.of(PAINTED) if run["support"] in before]
        if not runs:
            continue
        count = painted.head["painted_slices"]
        strokes = [before[run["support"]] for run in runs]
        parts.append(
            f"{name} support mask {_mean(runs, 'support_mask_scores')} instead of "
            f"{_mean(strokes, 'support_mask_scores')}, label maps {_mean(runs, 'scores')} instead of "
            f"{_mean(strokes, 'scores')}"
        )
    if not parts:
        return ""
    return f" Painted whole on {count} slices instead of scribbled, mean of the supports: {'; '.join(parts)}."


def _by_support(strokes: Results) -> dict[str, Line]:
    return {run["support"]: run for run in all_classes_of_each_support(strokes)}


def _cells(run: Line) -> list[str]:
    grown = run["support_mask_scores"]
    mask = NOTHING if grown is None else number(grown["mean_dice"])
    return [mask, number(run["scores"]["mean_dice"]), *trust_cells(run["trust"]["pairs"])]


def _mean(runs: Sequence[Line], scores: str) -> str:
    return number(statistics.fmean(run[scores]["mean_dice"] for run in runs))
