"""Propagated points as a picture, after Fig. 6 of the paper: share right and share kept against tau, as SVG."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

from bundle.benchmark.results import Line, Results
from bundle.benchmark.tables.markdown import plain

Curve = Sequence[tuple[float, float]]  # (tau, share)

WIDTH, HEIGHT, MARGIN = 300, 170, 36  # of a panel, pixels
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#555555", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito
VALUES = {"right": "precision_mean", "kept": "kept_mean"}


def point_chart(configurations: Mapping[str, Results]) -> str:
    """A row for each configuration: share right and share kept, by class; mean over supports. Empty without points.

    Args:
        configurations: such as "full configuration" -> what was measured.
    """
    rows = {name: results for name, results in configurations.items() if _points(results)}
    if not rows:
        return ""
    classes = list(dict.fromkeys(row["class"] for results in rows.values() for row in _points(results)))
    parts = [
        _panel(column * WIDTH, number * HEIGHT, f"{name}: share {what}", _curves(results, key, classes))
        for number, (name, results) in enumerate(rows.items())
        for column, (what, key) in enumerate(VALUES.items())
    ]
    bottom = len(rows) * HEIGHT
    parts += [
        _text(MARGIN + n * (2 * WIDTH - MARGIN) / len(classes), bottom + 14, plain(name), COLOURS[n % len(COLOURS)])
        for n, name in enumerate(classes)
    ]
    size = f'width="{2 * WIDTH}" height="{bottom + 24}"'
    style = 'font-family="sans-serif" font-size="10"'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>', *parts, "</svg>"]) + "\n"


def _points(results: Results) -> list[Line]:
    """Of the paper's rule."""
    return [row for row in results.of("points") if row["rule"] == "dual" and row["tissue_tolerance"] is None]


def _curves(results: Results, key: str, classes: Iterable[str]) -> list[Curve]:
    """Of each class, mean over supports; a tau at which no point was kept has no precision."""
    curves: list[Curve] = []
    for name in classes:
        values: dict[float, list[float]] = {}
        for row in _points(results):
            if row["class"] == name and row[key] is not None:
                values.setdefault(row["tau"], []).append(row[key])
        curves.append([(tau, statistics.fmean(shares)) for tau, shares in sorted(values.items())])
    return curves


def _panel(left: float, top: float, title: str, curves: Iterable[Curve]) -> str:
    """Axes from 0 to 1 and the curves."""
    wide, high = WIDTH - MARGIN - 14, HEIGHT - 2 * 24

    def place(tau: float, share: float) -> str:
        return f"{left + MARGIN + tau * wide:.1f},{top + 24 + (1 - share) * high:.1f}"

    parts = [_text(left + MARGIN, top + 14, title, "#22303c")]
    for share in (0.0, 0.5, 1.0):
        parts.append(f'<polyline points="{place(0, share)} {place(1, share)}" stroke="#e3e7eb"/>')
        parts.append(_text(left + 14, top + 28 + (1 - share) * high, f"{share:.1f}", "#5d6b78"))
        parts.append(_text(left + MARGIN - 6 + share * wide, top + HEIGHT - 12, f"{share:.1f}", "#5d6b78"))
    parts.append(_text(left + MARGIN + 0.72 * wide, top + HEIGHT - 12, "tau", "#5d6b78"))
    for number, curve in enumerate(curves):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(place(*point) for point in curve)
        parts.append(f'<polyline points="{points}" stroke="{colour}" stroke-width="1.5" fill="none"/>')
    return "\n".join(parts)


def _text(x: float, y: float, words: str, colour: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}">{words}</text>'
