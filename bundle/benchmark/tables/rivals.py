"""Part of the results page: what others report, with the source, on other data than ours."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from bundle.benchmark.results import ALL_CLASSES, ENSEMBLE, Cohort
from bundle.benchmark.tables.markdown import NOTHING, number, plain, table


def rivals_section(systems: Sequence[Mapping[str, Any]], cohorts: Mapping[str, Cohort]) -> str:
    """A row a system; "" if there are none.

    Args:
        systems: of `docs/benchmarks/rivals.json`: "system", "given", "data", "dice" (name -> Dice; of organs, they are
            averaged), "organs" (None: all), "cohort" and "against" ("ensemble" or "all_classes", ours), "source".
        cohorts: what we measured.
    """
    if not systems:
        return ""
    rows = [
        [
            entry["system"],
            entry["given"],
            entry["data"],
            _reported(entry),
            _ours(entry, cohorts.get(entry["cohort"], {})),
            entry["source"],
        ]
        for entry in systems
    ]
    words = (
        "What others report. **All of it is on other test data than ours**, read in the source named, not run by us: "
        "it says where the field stands, not who is better. Ours is the mean over the same organs from the tables "
        "above: of 3 organs by network and atlases together, of all organs by atlases alone."
    )
    header = ["system", "is given", "data", "Dice", "ours, our data", "source"]
    return "\n".join(["## Beside others", "", words, "", table(header, rows)])


def _reported(entry: Mapping[str, Any]) -> str:
    """Of organs their mean, of systems each."""
    values = list(entry["dice"].values())
    of_organs = set(entry["dice"]) <= set(entry["organs"] or ())
    return number(statistics.fmean(values)) if of_organs else ", ".join(map(number, values))


def _ours(entry: Mapping[str, Any], cohort: Cohort) -> str:
    if "default" not in cohort:
        return NOTHING
    results = cohort["default"]
    line = results.get("network", ENSEMBLE)
    lines = results.of(ALL_CLASSES) if entry["against"] != ENSEMBLE else [] if line is None else [line]
    if not lines:
        return NOTHING
    classes = lines[0]["scores"]["classes"]
    organs = list(classes) if entry["organs"] is None else entry["organs"]
    values = [classes[organ]["dice_mean"] for organ in organs if organ in classes]
    if not values or len(values) < len(organs):
        return NOTHING
    words = f"all {len(organs)} classes" if entry["organs"] is None else ", ".join(map(plain, organs))
    return f"{number(statistics.fmean(values))} ({words})"
