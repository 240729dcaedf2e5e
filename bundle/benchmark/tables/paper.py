"""The part of a cohort's page that `benchmark paper` measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bundle.benchmark.results import Line, Results
from bundle.benchmark.tables import captions
from bundle.benchmark.tables.default import stage_table
from bundle.benchmark.tables.markdown import NOTHING, mean_sd, number, table

NETWORKS = {"without_plc": "trained, no label correction", "with_plc": "trained with label correction"}


def paper_section(results: Results, published: Mapping[str, Any]) -> str:
    """Everything `benchmark paper` measured on one cohort.

    Args:
        results: of one cohort.
        published: the paper's own figures for it (see `docs/benchmarks/rivals.json`), {} if there are none.
    """
    head = results.head
    beside = (
        f" The paper's column is on other data than ours ({published['data']}; {published['source']}), with networks "
        "trained on a GPU at about 1 mm: orientation only."
        if published
        else ""
    )
    parts = [
        "## Mode `paper`",
        f"{captions.command('paper', head['name'])}; {captions.data(results)}; {captions.SCORED}; "
        f"{captions.origin(results.lines)}. Support `{head['support']}`, strokes a. "
        + captions.raw(head["name"], "paper"),
        f"**Dice, mean ± standard deviation over test volumes.**{beside}",
        _dice_table(results, published.get("dice", {})),
        "**Propagated points.** Share of support points kept, and share of the kept points that lie in the right "
        "organ; mean over test volumes.",
        _point_table(results, "dual"),
        _point_table(results, "multi"),
        _point_table(results, "dual", tissue_check=True),
        "**Time and peak memory per stage.** Wall-clock seconds, peak resident memory of the whole process.",
        stage_table(results.of("stages")),
    ]
    return "\n\n".join(parts)


def _dice_table(results: Results, published: Mapping[str, float]) -> str:
    classes = list(results.head["classes"])
    rows = [(f"pseudo labels, {line['name']}", line) for line in results.of("masks")]
    rows += [(NETWORKS[line["name"]], line) for line in results.of("network")]
    lines = [[words, *_dice_cells(line, classes), _published(published.get(line["name"]))] for words, line in rows]
    return table(["", *classes, "mean", "HD95 mm", "surface Dice 2 mm", "paper, mean"], lines)


def _published(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3f}"


def _dice_cells(line: Line, classes: Iterable[str]) -> list[str]:
    scores = line["scores"]
    rows = [scores["classes"][name] for name in classes]
    mean = NOTHING if scores["mean_dice"] is None else f"{scores['mean_dice']:.3f}"
    distances = [_mean(row[key] for row in rows) for key in ("hd95_mean_mm", "surface_dice_2mm_mean")]
    return [*(mean_sd(row["dice_mean"], row["dice_sd"]) for row in rows), mean, *distances]


def _point_table(results: Results, rule: str, tissue_check: bool = False) -> str:
    rows = [row for row in results.of("points") if row["rule"] == rule]
    rows = [row for row in rows if (row["tissue_tolerance"] is not None) == tissue_check]
    classes = list(dict.fromkeys(row["class"] for row in rows))
    cell = {(row["tau"], row["class"]): row for row in rows}
    lines = [
        [f"{tau}", *(_kept_cell(cell.get((tau, name))) for name in classes)]
        for tau in dict.fromkeys(row["tau"] for row in rows)
    ]
    checked = " and tissue check" if tissue_check else ""
    return table([f"{rule}{checked}, tau", *(f"{name}: kept / right" for name in classes)], lines)


def _kept_cell(row: Line | None) -> str:
    return NOTHING if row is None else f"{row['kept_mean']:.2f} / {number(row['precision_mean'])}"


def _mean(values: Iterable[float | None]) -> str:
    present = [value for value in values if value is not None]
    return number(sum(present) / len(present)) if present else NOTHING
