"""What one case costs: the table of a cohort's page, and a sentence of the results page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bundle.benchmark.cost.speed import BESIDE, INFERENCE, PART_OF, SPEED, SPEED_BEFORE
from bundle.benchmark.results import Results
from bundle.benchmark.tables import captions
from bundle.benchmark.tables.markdown import NOTHING, table


def speed_section(results: Results) -> str:
    """Processor seconds of every step, of this version and the one that it is compared with."""
    name, lines, before = results.head["name"], results.of(SPEED), results.of(SPEED_BEFORE)
    words = (
        f"{captions.command('speed', name)}; {captions.origin(lines)}. From `{results.head['support']}` to "
        f"`{results.head['case']}`, small configuration, files read and written as in a run; what the support costs "
        "once is left out, and each further atlas costs the first round's registration once more. Seconds of all "
        f"processors; {captions.raw(name, 'speed')}"
    )
    if before:
        words += f" Before the arrow: {captions.origin(before)}."
    columns = [(line, results.get(SPEED_BEFORE, line["name"])) for line in lines]
    steps = list(dict.fromkeys(step for line in lines for step in line["steps"]))
    rows = [[step, *(_change(now, old, step, _seconds) for now, old in columns)] for step in steps]
    for total, value in (("together", total_s), ("peak memory GB", _peak_gb)):
        rows.append([total, *(_arrow(None if old is None else value(old), value(now)) for now, old in columns)])
    spreads = [_spread(line) for line in lines]
    if any(spreads):
        rows.append(["together, runs of this version", *(spread or NOTHING for spread in spreads)])
        words += " Where several runs of it are given, what stands above is the median of each step."
    if INFERENCE in steps:
        rows.append([f"peak memory GB, {INFERENCE}", *(_change(now, old, INFERENCE, _gb) for now, old in columns)])
    return "\n\n".join(["## Speed of one case", words, table(["step", *(line["name"] for line in lines)], rows)])


def speed_in_short(results: Results) -> str:
    """A sentence a cohort."""
    costs = []
    for line in results.of(SPEED):
        old = results.get(SPEED_BEFORE, line["name"])
        before = "" if old is None else f" instead of {total_s(old):.0f}"
        costs.append(f"{line['name']}: {total_s(line):.0f} s{before}, {_peak_gb(line):.1f} GB")
    return (
        f"- {results.head['name']}, seconds of processors from a file to a checked label map, one atlas: "
        f"{'; '.join(costs)}; {captions.origin(results.of(SPEED), commits=False)}."
    )


def speed_ratios(results: Results) -> list[str]:
    """Seconds of this version as a share of the other one's, a line a trial and step."""
    return [
        f"{line['name']}, {step}: {cost['cpu_s'] / old['steps'][step]['cpu_s']:.2f} of what it took"
        for line in results.of(SPEED)
        if (old := results.get(SPEED_BEFORE, line["name"])) is not None
        for step, cost in line["steps"].items()
        if old["steps"].get(step, {"cpu_s": 0})["cpu_s"] > 0
    ]


def _change(
    now: Mapping[str, Any], old: Mapping[str, Any] | None, step: str, value: Callable[[Mapping[str, float]], float]
) -> str:
    if step not in now["steps"]:
        return NOTHING
    before = None if old is None or step not in old["steps"] else value(old["steps"][step])
    return _arrow(before, value(now["steps"][step]))


def _arrow(before: float | None, now: float) -> str:
    return f"{now:.1f}" if before is None else f"{before:.1f} → {now:.1f}"


def _whole_steps(line: Mapping[str, Any]) -> list[Mapping[str, float]]:
    """All but those that are part of another one, or stand beside it."""
    return [cost for step, cost in line["steps"].items() if not step.startswith(PART_OF) and step not in BESIDE]


def total_s(line: Mapping[str, Any]) -> float:
    """Processor seconds of a trial's steps, from a file to a checked label map."""
    return sum(map(_seconds, _whole_steps(line)))


def _spread(line: Mapping[str, Any]) -> str:
    """Seconds of all steps together in the quickest and the slowest of several runs, and how many; else nothing."""
    steps = _whole_steps(line)
    if not all("runs_cpu_s" in cost for cost in steps):
        return ""
    totals = [sum(run) for run in zip(*(cost["runs_cpu_s"] for cost in steps), strict=True)]
    return f"{len(totals)} runs, {min(totals):.1f} to {max(totals):.1f}"


def _peak_gb(line: Mapping[str, Any]) -> float:
    return max(map(_gb, _whole_steps(line)))


def _seconds(cost: Mapping[str, float]) -> float:
    return cost["cpu_s"]


def _gb(cost: Mapping[str, float]) -> float:
    return cost["peak_mb"] / 1024
