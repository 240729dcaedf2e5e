"""Numbers and tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

NOTHING = "–"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value: float | None) -> str:
    """Two decimals, a dash for nothing."""
    return NOTHING if value is None else f"{value:.2f}"


def mean_sd(mean: float | None, sd: float | None) -> str:
    """Mean ± standard deviation, a dash for nothing."""
    return NOTHING if mean is None else f"{mean:.3f} ± {sd or 0:.3f}"


def of(part: int, whole: int) -> str:
    """A count among others."""
    return f"{part} of {whole}"


def listed(words: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def plain(name: str) -> str:
    """A class's name in words."""
    return name.replace("_", " ")
