"""The part of a cohort's page that `benchmark limits` measured."""

from __future__ import annotations

from bundle.benchmark.results import Results
from bundle.benchmark.tables import captions
from bundle.benchmark.tables.markdown import table


def limits_section(results: Results) -> str:
    """Everything `benchmark limits` measured on one cohort."""
    name, lines = results.head["name"], results.of("limit")
    parts = [
        "## Limits",
        f"{captions.command('limits', name)}; {captions.origin(lines)}. {captions.raw(name, 'limits')}",
        limits_table(results),
    ]
    return "\n\n".join(parts)


def limits_table(results: Results) -> str:
    """Median and single times of each step, against its limit."""
    rows = [
        [line["name"], f"{line['limit_s']:.0f}", f"{line['median_s']:.1f}", ", ".join(map(str, line["seconds"]))]
        for line in results.of("limit")
    ]
    return table(["step", "limit s", "median s", "runs s"], rows)
