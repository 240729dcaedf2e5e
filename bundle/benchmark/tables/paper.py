"""The part of a cohort's page that `benchmark paper` measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from bundle.benchmark.results import PAPERS_RULES, Line, Results
from bundle.benchmark.tables import captions
from bundle.benchmark.tables.default import stage_table
from bundle.benchmark.tables.markdown import NOTHING, listed, mean_sd, number, table

NETWORKS = {
    "without_plc": "trained, no label correction",
    "with_plc": "trained with label correction",
    "guarded_plc": "trained with guarded label correction",
    "bounded_without_plc": "trained on bounded pseudo labels, no label correction",
    "bounded_guarded_plc": "trained on bounded pseudo labels, guarded label correction",
}

SMALL = (
    "label maps as they grow, and label correction by the paper's rule, unless a row says bounded or guarded; points "
    "placed by the small configuration's feature search, body map and atlases, which the paper does not have (those of "
    "rule `multi` as `dual` placed them), and label correction late in a training (`docs/method.md`); "
)
FULL = "label maps as they grow, and label correction by the paper's rule; "
ALONE = (
    "the paper's rules alone, by networks of the small configuration: points as these locate them, label maps as they "
    "grow, label correction that may erase a class, from the third epoch on; of the paper's steps those that "
    "`docs/method.md` calls ours stay as they are (thinned strokes, 16 starts, one part a class, an augmented training "
    "on larger voxels); "
)


def paper_section(results: Results, published: Mapping[str, Any], kind: str = "paper") -> str:
    """Everything `benchmark paper` measured on one cohort in one configuration.

    Args:
        results: of one cohort.
        published: the paper's own figures for it (see `docs/benchmarks/rivals.json`), {} if there are none.
        kind: of the results.
    """
    head = results.head
    full, alone, supports = head["configuration"] == "full", kind == PAPERS_RULES, _supports(results)
    given = head.get("given_weights", "")
    options = f"{' --full' * full}{' --papers-rules' * alone}{f' --weights {given}' if given else ''}"
    origin = head.get("recipe") or captions.command("paper", head["name"], options)
    parts = [
        f"## Mode `paper`{', full configuration' * full}{', by the rules of the paper alone' * alone}",
        f"{origin}; {'both PRNets trained before; ' if given else ''}{captions.data(results)}; "
        f"{captions.SCORED}; {FULL if full else ALONE if alone else SMALL}{captions.origin(results.lines)}. "
        f"Support{'s' * (len(supports) > 1)} {_named(supports)}, strokes a. " + captions.raw(head["name"], kind),
        *(_dice(results, published) if results.of("masks") else ()),
        *(_trainings(results) if results.of("training") else ()),
        *(_points(results) if results.of("points") else ()),
        *(_stages(results) if results.of("stages") else ()),
    ]
    return "\n\n".join(parts)


def points_against_tau(configurations: Mapping[str, Results], picture: str) -> list[str]:
    """The parts of a page that show `point_chart`.

    Args:
        configurations: see `point_chart`.
        picture: where that lies.
    """
    supports = "; ".join(f"{name}: {_named(_supports(results))}" for name, results in configurations.items())
    return [
        f"**Points right and points kept against tau,** rule `dual`, mean over supports ({supports}). Of the small "
        "configuration they are points as feature search, body map and atlases place them; otherwise as the networks "
        "alone do.",
        f"![Share of points right and share of points kept against tau]({picture})",
    ]


def _dice(results: Results, published: Mapping[str, Any]) -> Iterator[str]:
    beside = (
        f" The paper's column is on other data than ours ({published['data']}; {published['source']}), with networks "
        "trained on a GPU at about 1 mm: orientation only."
        if published
        else ""
    )
    yield f"**Dice, mean ± standard deviation over test volumes.**{beside}"
    yield _dice_table(results, published.get("dice", {}))


def _trainings(results: Results) -> Iterator[str]:
    """Curves of the PRNets, as tables."""
    yield (
        "**Offset error on volumes left out.** Length of the difference between predicted and true offset of two "
        "random places of the body, of the fine network within its box; over pairs, last the medians along each axis."
    )
    rows = [
        [
            f"{line['name']}, {line['trained_on']}",
            *(f"{row[key]:.0f}" for key in ("seconds", "iterations")),
            *(f"{row[key]:.1f}" for key in ("median_mm", "mean_mm")),
            ", ".join(f"{value:.1f}" for value in row["axes_median_mm"]),
        ]
        for line in results.of("training")
        for row in line["curve"]
    ]
    yield table(["network", "seconds", "batches", "median mm", "mean mm", "x, y, z mm"], rows)


def _points(results: Results) -> Iterator[str]:
    yield (
        "**Propagated points.** Share of support points kept, and share of the kept points that lie in the right "
        "organ; mean over test volumes."
    )
    yield _point_table(results, "dual")
    if any(row["rule"] == "multi" for row in results.of("points")):
        yield _point_table(results, "multi")
    if any(row["tissue_tolerance"] is not None for row in results.of("points")):
        yield _point_table(results, "dual", tissue_check=True)


def _stages(results: Results) -> Iterator[str]:
    yield "**Time and peak memory per stage.** Wall-clock seconds, peak resident memory of the whole process."
    yield stage_table(results.of("stages"))


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
    cell = {(_support(row, results), row["tau"], row["class"]): row for row in rows}
    supports = _supports(results)
    lines = [
        [
            f"{tau}" if len(supports) == 1 else f"{tau}, {support}",
            *(_kept_cell(cell.get((support, tau, name))) for name in classes),
        ]
        for support, tau in dict.fromkeys((support, tau) for support, tau, _ in cell)
    ]
    checked = " and tissue check" if tissue_check else ""
    of_support = ", support" if len(supports) > 1 else ""
    return table([f"{rule}{checked}, tau{of_support}", *(f"{name}: kept / right" for name in classes)], lines)


def _supports(results: Results) -> list[str]:
    """The head's first."""
    return list(dict.fromkeys([results.head["support"], *(_support(row, results) for row in results.of("points"))]))


def _named(supports: Sequence[str]) -> str:
    return listed([f"`{support}`" for support in supports])


def _support(row: Line, results: Results) -> str:
    return str(row.get("support", results.head["support"]))


def _kept_cell(row: Line | None) -> str:
    return NOTHING if row is None else f"{row['kept_mean']:.2f} / {number(row['precision_mean'])}"


def _mean(values: Iterable[float | None]) -> str:
    present = [value for value in values if value is not None]
    return number(sum(present) / len(present)) if present else NOTHING
