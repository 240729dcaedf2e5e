"""Part of a cohort's page and of the results page: other packages' registration, run by us on the same volumes."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from bundle.benchmark.results import ALL_CLASSES, ALL_CLASSES_NETWORK, ENSEMBLE, RIVAL, SUPERVISED, Cohort, Line
from bundle.benchmark.tables import captions
from bundle.benchmark.tables.markdown import NOTHING, number, table

TRUE_MASK, STROKES = "true label map of one volume", "strokes on one volume"
HEADER = ["", "is given", "organs of the paper", "all classes", "CPU seconds a case", "peak memory MB"]


def measured_rivals(cohorts: Mapping[str, Cohort]) -> str:
    """Everyone on the same test volumes; "" before a rival was run."""
    measured = {name: cohort for name, cohort in cohorts.items() if "rivals" in cohort and cohort["rivals"].of(RIVAL)}
    if not measured:
        return ""
    words = (
        "Run by us on the same test volumes, each package with its own settings (`bundle/benchmark/rivals/`) and with "
        "more than we get: the true label map of the volume that we know strokes of. Mean Dice on the full original "
        "grid."
    )
    parts = ["## Beside other packages, on the same volumes", "", words]
    for name, cohort in measured.items():
        lines = cohort["rivals"].of(RIVAL)
        origin = captions.origin(lines, commits=False)
        parts += ["", f"{name}: {captions.command('rivals', name)}; {origin}.", "", table(HEADER, _rows(cohort))]
    return "\n".join(parts)


def _rows(cohort: Cohort) -> list[list[str]]:
    organs = list(cohort["rivals"].head["classes"])
    rows = [[line["name"], TRUE_MASK, *_dice(line, organs), *_taken(line)] for line in cohort["rivals"].of(RIVAL)]
    if (ours := cohort.get("default")) is not None:
        every = {"atlases alone": ours.of(ALL_CLASSES), "network and atlases together": []}
        every["network and atlases together"] = [
            line for line in ours.of(ALL_CLASSES_NETWORK) if line["name"] == ENSEMBLE
        ]
        few = {"atlases alone": ours.of("run")[:1], "network and atlases together": _network(cohort, ENSEMBLE)}
        rows += [
            [f"ours, {name}", STROKES, _mean(few[name]), _mean(every[name]), NOTHING, NOTHING]
            for name in every
            if few[name] or every[name]
        ]
        if bound := _network(cohort, SUPERVISED):
            rows.append(["network, fully supervised", "label maps of all volumes", _mean(bound), *[NOTHING] * 3])
    return rows


def _dice(line: Line, organs: list[str]) -> tuple[str, str]:
    """Mean of the paper's organs, and of all."""
    classes = line["scores"]["classes"]
    return number(statistics.fmean(classes[organ]["dice_mean"] for organ in organs)), _mean([line])


def _taken(line: Line) -> tuple[str, str]:
    taken = list(line["taken"].values())
    if not taken:
        return NOTHING, NOTHING
    seconds = statistics.median(entry["cpu_seconds"] for entry in taken)
    return f"{seconds:.0f}", f"{max(entry['peak_memory_mb'] for entry in taken):.0f}"


def _mean(lines: list[Line]) -> str:
    return number(lines[0]["scores"]["mean_dice"]) if lines else NOTHING


def _network(cohort: Cohort, name: str) -> list[Line]:
    line = cohort["default"].get("network", name)
    return [] if line is None else [line]
