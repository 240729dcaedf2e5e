"""Part of the results page: what the fault campaign tried, and what was lost."""

from __future__ import annotations

from bundle.benchmark.results import Line, Results
from bundle.benchmark.tables import captions
from bundle.benchmark.tables.markdown import listed, table

PARTS = {
    "kills": "runs killed by kill -9 at random moments, then continued",
    "damage": "finished work folders with a file missing, cut, changed, empty or replaced",
    "hostile": "strings and files that want to be run or to lie elsewhere",
    "volumes": "odd volumes",
}


def campaign_section(results: Results) -> str:
    """Tried, survived and lost of each part; empty if nothing was tried."""
    lines = results.of("part")
    if not lines:
        return ""
    lost = [f"- {name}: {reason}" for line in lines for name, reason in line["lost"]]
    parts = [
        "## Faults",
        f"`make fault-campaign`; {captions.origin(lines)}. A trial is survived if the result is identical, right or "
        "made again, or if one sentence refuses it or says what is doubtful; it is lost otherwise.",
        table(["tried", "trials", "survived", "lost", "time s"], map(_row, lines)),
        "\n".join(["Lost:", "", *lost]) if lost else "",
    ]
    return "\n\n".join(part for part in parts if part)


def _row(line: Line) -> list[str]:
    kills = f", {line['kills']} kills" if line["kills"] else ""
    survived = listed([f"{count} {outcome}" for outcome, count in sorted(line["survived"].items())])
    return [PARTS[line["name"]] + kills, str(line["tried"]), survived, str(len(line["lost"])), str(line["seconds"])]
