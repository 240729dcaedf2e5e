"""The part of a cohort's page that `benchmark orientation` measured."""

from __future__ import annotations

from bundle.benchmark.results import Results
from bundle.benchmark.tables import captions
from bundle.benchmark.tables.markdown import number, of, table


def orientation_section(results: Results) -> str:
    """How many volumes are taken for turned, as they are and turned in every way."""
    name, lines = results.head["name"], results.of("orientation")
    supports = ", ".join(f"`{support}`" for support in results.head["supports"])
    parts = [
        "## Turned and mirrored bodies",
        f"{captions.command('orientation', name)}; {captions.origin(lines)}. Supports {supports}; all volumes as they "
        "are, those of the `test` list in every other orientation; no label is used. The gain says how many times "
        "better the best of the other orientations fits. A body is flagged as turned above a gain of "
        f"{results.head['least_gain']:g}. {captions.raw(name, 'orientation')}",
        orientation_table(results),
    ]
    return "\n\n".join(parts)


def orientation_table(results: Results) -> str:
    """Of each orientation: volumes flagged as turned, and the smallest and greatest gain."""
    rows = []
    for orientation in dict.fromkeys(line["orientation"] for line in results.of("orientation")):
        lines = [line for line in results.of("orientation") if line["orientation"] == orientation]
        gains = [gain for line in lines for gain in line["gains"].values()]
        flagged = sum(gain > results.head["least_gain"] for gain in gains)
        rows.append([orientation, of(flagged, len(gains)), number(min(gains)), number(max(gains))])
    return table(["the volume", "flagged, volume and support", "smallest gain", "greatest gain"], rows)
