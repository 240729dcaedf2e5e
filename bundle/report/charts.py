"""Training curves and label flips as small multiples (matplotlib, Agg)."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from bundle.report.markup import Markup, escape, spoken
from bundle.report.pictures import data_uri
from scripts.quality.calibration import DicePair, kept_quality

DPI = 150
PANEL_INCHES = (3.5, 2.3)
PANELS_PER_ROW = 3
MAXIMUM_PANELS = 9
INK, MUTED, GRID = "#22303c", "#5d6b78", "#e3e7eb"
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#555555")  # Okabe and Ito
NOT_A_CURVE = ("epoch", "seconds")
WORDS = {"val": "validation", "train": "training", "mm": "(mm)", "lr": "learning rate"}


def curves(columns: Mapping[str, np.ndarray], classes: Sequence[str]) -> str:
    """One panel per measured quantity over epochs; columns that differ only by a class name share a panel."""
    panels = list(_grouped([column for column in columns if column not in NOT_A_CURVE], classes).items())
    panels = [(title, lines) for title, lines in panels if any(np.isfinite(columns[c]).any() for c in lines.values())]
    figure, axes = _figure(min(len(panels), MAXIMUM_PANELS))
    epochs = columns.get("epoch", np.arange(1, 1 + len(next(iter(columns.values())))))
    for axis, (title, lines) in zip(axes, panels, strict=False):
        _plot_lines(axis, epochs, {name: columns[column] for name, column in lines.items()})
        _decorate(axis, title, "epoch")
    return _picture(figure, "training curves: " + ", ".join(title for title, _ in panels))


def flips(rounds: Sequence[Mapping[str, Any]]) -> str:
    """One panel per class: voxels added (up) and removed (down) in every round."""
    names = list(dict.fromkeys(name for entry in rounds for name in entry.get("flips", {}) if name != "background"))
    figure, axes = _figure(len(names))
    x = [entry["round"] for entry in rounds]
    for axis, name in zip(axes, names, strict=False):
        counts = [entry.get("flips", {}).get(name, {}) for entry in rounds]
        axis.bar(x, [count.get("added", 0) for count in counts], color=LINES[0], label="added", width=0.8)
        axis.bar(x, [-count.get("removed", 0) for count in counts], color=LINES[1], label="removed", width=0.8)
        axis.axhline(0, color=INK, linewidth=0.6)
        axis.yaxis.set_major_formatter(lambda value, _: f"{abs(value):,.0f}")
        axis.legend(frameon=False, fontsize=7, labelcolor=MUTED, ncols=2)
        _decorate(axis, f"{spoken(name)}, voxels", "epoch")
    return _picture(figure, "label flips per round")


def trust_charts(by_class: Mapping[str, Sequence[DicePair]]) -> Markup:
    """Predicted against true Dice, and the risk-coverage curve: what is left when the least trusted are put aside.

    Args:
        by_class: class -> its results, at least one altogether.
    """
    figure, (scatter, curve) = _figure(2)
    for (name, pairs), colour in zip(by_class.items(), cycle(LINES), strict=False):
        x, y = [pair["predicted"] for pair in pairs], [pair["true"] for pair in pairs]
        scatter.scatter(x, y, s=14, color=colour, label=spoken(name), alpha=0.8, linewidths=0)
    scatter.plot([0, 1], [0, 1], color=MUTED, linewidth=0.7)
    scatter.legend(frameon=False, fontsize=7, labelcolor=MUTED)
    _decorate(scatter, "true Dice", "predicted Dice", whole_numbers=False)
    everything = [pair for pairs in by_class.values() for pair in pairs]
    coverage, quality = kept_quality([pair["predicted"] for pair in everything], [pair["true"] for pair in everything])
    curve.plot(100 * coverage, quality, color=LINES[0], linewidth=1.4, marker="o", markersize=2.5)
    _decorate(curve, "mean true Dice of those kept", "most trusted results kept, %", whole_numbers=False)
    for axis in (scatter, curve):
        axis.set_ylim(0, 1.02)
    return _picture(figure, "predicted against true Dice, and the risk-coverage curve")


def _grouped(columns: Sequence[str], classes: Sequence[str]) -> dict[str, dict[str, str]]:
    """Panel title -> {line name: column}."""
    panels: dict[str, dict[str, str]] = {}
    for column in columns:
        name = next((name for name in sorted(classes, key=len, reverse=True) if column.endswith(f"_{name}")), "")
        quantity = column.removesuffix(f"_{name}") if name else column
        title = " ".join(WORDS.get(word, word) for word in quantity.split("_"))
        panels.setdefault(title, {})[spoken(name)] = column
    return panels


def _figure(panels: int) -> tuple[Figure, list[Axes]]:
    columns = min(max(panels, 1), PANELS_PER_ROW)
    rows = math.ceil(max(panels, 1) / columns)
    figure = Figure(figsize=(PANEL_INCHES[0] * columns, PANEL_INCHES[1] * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis in axes[panels:]:
        axis.set_axis_off()
    return figure, axes


def _plot_lines(axis: Axes, epochs: np.ndarray, lines: Mapping[str, np.ndarray]) -> None:
    axis.set_prop_cycle(color=LINES)
    for name, values in lines.items():
        finite = np.isfinite(values)
        marker = "o" if finite.sum() < 30 else None
        axis.plot(epochs[finite], values[finite], linewidth=1.4, marker=marker, markersize=2.5, label=name)
        if len(lines) == 1:
            last = values[finite][-1]
            text = f"{last:.0f}" if abs(last) >= 100 else f"{last:.3g}"
            axis.set_title(f"last {text}", fontsize=8, color=MUTED, loc="right")
    if len(lines) > 1:
        axis.legend(frameon=False, fontsize=7, labelcolor=MUTED)


def _decorate(axis: Axes, title: str, x_label: str, whole_numbers: bool = True) -> None:
    axis.set_title(title, fontsize=9, color=INK, loc="left", fontweight="bold")
    axis.set_xlabel(x_label, fontsize=8, color=MUTED)
    axis.tick_params(labelsize=8, colors=MUTED, length=0)
    axis.locator_params(axis="x", integer=whole_numbers)
    axis.grid(axis="y", color=GRID, linewidth=0.7)
    axis.set_axisbelow(True)
    axis.margins(y=0.15)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.spines["bottom"].set_color(GRID)


def _picture(figure: Figure, description: str) -> Markup:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    picture = Image.open(buffer).convert("RGB").quantize(128)
    width = round(figure.get_figwidth() * 110)
    return Markup(f'<img src="{data_uri(picture, "PNG")}" width="{width}" alt="{escape(description)}"/>\n')
