"""Tables of the self-check: predicted against true Dice, flags, risk and coverage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bundle.benchmark.results import ALL_CLASSES, ALL_CLASSES_FURTHER, AS_GROWN, Line, Results
from bundle.benchmark.tables.markdown import NOTHING, number, of, table
from bundle.benchmark.tables.networks import NETWORK_WORDS
from scripts.quality.calibration import kept_quality, summary

Pairs = Sequence[Mapping[str, Any]]  # predicted and true Dice, and the flag, of every (case, class)
COVERAGE = (1.0, 0.9, 0.75, 0.5, 0.25)
FLAGS = ["failures flagged", "false flags"]
JUDGED = ["Pearson's r", "mean absolute error", *FLAGS]
MEANING = (
    "Predicted against true Dice of every (case, class); a failure is a true Dice below 0.5; a false flag is one on "
    "anything else."
)


def judged_networks(results: Results) -> dict[str, Pairs]:
    """Words -> pairs of the networks' label maps that the self-check judged."""
    return {NETWORK_WORDS[line["name"]]: line["trust"]["pairs"] for line in results.of("network") if "trust" in line}


def grown_masks(results: Results) -> list[Mapping[str, Any]]:
    """Pairs of the one-shot masks of all runs whose support mask is as grown."""
    return pooled_pairs([run for run in results.of("run") if run["support_mask"] == AS_GROWN])


def pooled_pairs(runs: Sequence[Line]) -> list[Mapping[str, Any]]:
    """Pairs of several runs together."""
    return [pair for run in runs for pair in run["trust"]["pairs"]]


def all_classes_of_each_support(results: Results) -> list[Line]:
    """The runs with every class at once by the atlases alone, the first support's first."""
    return [*results.of(ALL_CLASSES)[:1], *results.of(ALL_CLASSES_FURTHER)]


def trust_table(judged: Mapping[str, Pairs]) -> str:
    """A row of every kind of result; of none, nothing but the header."""
    return table(["", *JUDGED], [[words, *trust_cells(pairs)] for words, pairs in judged.items()])


def trust_cells(pairs: Pairs) -> list[str]:
    """Pearson's r, mean absolute error, failures flagged, false flags."""
    if not pairs:
        return [NOTHING] * 4
    numbers = summary(pairs)
    return [number(numbers["pearson_r"]), number(numbers["mean_absolute_error"]), *flag_cells(pairs)]


def flag_cells(pairs: Pairs) -> list[str]:
    """Failures flagged and false flags."""
    counts = summary(pairs)
    good = counts["results"] - counts["failures"]
    return [of(counts["failures_flagged"], counts["failures"]), of(counts["false_flags"], good)]


def coverage_table(judged: Mapping[str, Pairs]) -> str:
    """Mean true Dice of the results with the best predicted Dice, the others put aside."""
    rows = []
    for words, pairs in judged.items():
        if not pairs:
            continue
        coverage, quality = kept_quality([pair["predicted"] for pair in pairs], [pair["true"] for pair in pairs])
        at = [float(quality[np.searchsorted(coverage, share - 1e-9)]) for share in COVERAGE]
        rows.append([words, f"{len(pairs)}", *map(number, at)])
    return table(["", "results", *(f"best {round(100 * share)} %" for share in COVERAGE)], rows)
