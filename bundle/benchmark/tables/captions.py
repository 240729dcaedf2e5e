"""What every table says of itself: its command, its data, and when, by which version and where it was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bundle.benchmark.results import MADE, Line, Results
from bundle.benchmark.tables.markdown import listed

GENERATED = "`python -m bundle benchmark pages` writes this page from the raw results; edit neither by hand."
SCORED = "labels score results, a run uses none"


def command(kind: str, cohort: str, more: str = "") -> str:
    """The command that measures it."""
    return f"`python -m bundle benchmark {kind} --dataset DIR/{cohort}{more}`"


def data(results: Results) -> str:
    """Volumes and configuration."""
    head = results.head
    return (
        f"{head['configuration']} configuration; {len(head['unlabelled_cases'])} volumes without labels, one of them "
        f"scribbled, scores on the {len(head['test_cases'])} volumes of the `test` list, full original grid"
    )


def origin(lines: Sequence[Line], commits: bool = True) -> str:
    """Dates, versions, machines and, unless told otherwise, commits at which the lines were recorded."""
    made: list[Mapping[str, Any]] = [line[MADE] for line in lines if MADE in line]
    if not made:
        return "not recorded when and where"
    dates = sorted({entry["date"] for entry in made})
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    versions = sorted({entry["version"] for entry in made})
    where = list(dict.fromkeys(machine(entry["machine"]) for entry in made))
    text = f"recorded {when} with version{'s' * (len(versions) > 1)} {listed(versions)} on {listed(where)}"
    recorded = list(dict.fromkeys(entry["commit"] for entry in made if entry["commit"]))
    return f"{text} (commit{'s' * (len(recorded) > 1)} {', '.join(recorded)})" if commits and recorded else text


def machine(facts: Mapping[str, Any]) -> str:
    """A GPU's name, or how many CPU threads."""
    threads = facts["threads"]
    return facts["gpu"] or f"{threads} CPU thread{'s' * (threads != 1)}"


def raw(cohort: str, kind: str) -> str:
    """Where the numbers lie."""
    return f"Raw numbers: `docs/benchmarks/{cohort}/{kind}.jsonl`."
