"""The part of a cohort's page that `benchmark orientation` measured."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

from bundle.benchmark.results import Results
from bundle.benchmark.tables import captions
from bundle.benchmark.tables.markdown import number, of, table

LEAST_FIT = 1e-4  # as the raw results are rounded


def orientation_section(results: Results) -> str:
    """How many volumes are taken for turned, as they are and turned in every way."""
    name, lines = results.head["name"], results.of("orientation")
    supports = ", ".join(f"`{support}`" for support in results.head["supports"])
    parts = [
        "## Turned and mirrored bodies",
        f"{captions.command('orientation', name)}; {captions.origin(lines)}. Supports {supports}; all volumes as they "
        "are, those of the `test` list in every other orientation; no label is used. A body is flagged as turned if "
        f"the best of the other orientations fits more than {results.head['least_gain']:g} times as well, and by more "
        f"than {results.head['least_difference']:g}. {captions.raw(name, 'orientation')}",
        orientation_table(results),
    ]
    return "\n\n".join(parts)


def orientation_table(results: Results) -> str:
    """Of each orientation: volumes flagged as turned, and the median fits."""
    rows = []
    for orientation in dict.fromkeys(line["orientation"] for line in results.of("orientation")):
        lines = [line for line in results.of("orientation") if line["orientation"] == orientation]
        fits = [fit for line in lines for fit in line["fits"].values()]
        flagged = sum(_flagged(fit, results.head) for fit in fits)
        own, others = (median(fit[kind] for fit in fits) for kind in ("as_it_is", "otherwise"))
        gains = [fit["otherwise"] / max(fit["as_it_is"], LEAST_FIT) for fit in fits]
        gain = f"{number(min(gains))} to {number(max(gains))}"
        rows.append([orientation, of(flagged, len(fits)), number(own), number(others), gain])
    titles = ["the volume", "flagged, volume and support", "median fit as it is", "median of the best otherwise"]
    return table([*titles, "otherwise over as it is"], rows)


def _flagged(fit: Mapping[str, float], head: Mapping[str, Any]) -> bool:
    own, other = fit["as_it_is"], fit["otherwise"]
    return other > head["least_gain"] * own and other - own > head["least_difference"]
