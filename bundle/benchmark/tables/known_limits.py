"""Part of the results page: known limits, a sentence each, every number computed."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from bundle.benchmark.results import (
    ACCEPTED,
    ALL_CLASSES,
    AS_GROWN,
    ENSEMBLE,
    PAPER_FULL,
    PAPERS_RULES,
    SUPERVISED,
    Cohort,
    Line,
    Results,
)
from bundle.benchmark.tables.bootstrap import change
from bundle.benchmark.tables.markdown import listed, number, of, plain
from bundle.benchmark.tables.self_check import grown_masks
from scripts.quality.calibration import FAILURE, summary

LEAST_KEPT, LEAST_RIGHT = 0.6, 0.85  # share of points; a class with less of either is named


def known_limits(cohorts: Mapping[str, Cohort], published: Mapping[str, Any]) -> str:
    """All sentences that apply; `published` are the paper's own figures (see `paper_section`)."""
    sentences = [sentence for say in SENTENCES for name, cohort in cohorts.items() for sentence in say(name, cohort)]
    sentences += _ranking(cohorts)
    sentences += [s for name, cohort in cohorts.items() for s in _mode_paper(name, cohort, published.get(name, {}))]
    lines = [f"- {sentence}" for sentence in sentences]
    return "\n".join(["## Known limits", "", "Numbers are of the tables above and of the cohorts' pages.", "", *lines])


def _few_volumes(name: str, cohort: Cohort) -> Iterator[str]:
    results = cohort.get("default", Results())
    ensemble, bound = results.get("network", ENSEMBLE), results.get("network", SUPERVISED)
    if ensemble is not None and bound is not None:
        yield (
            f"{name}: {len(results.head['test_cases'])} test volumes say little; network and atlases together differ "
            f"from the supervised network by {change([ensemble['scores']], [bound['scores']])}, 95 % interval over "
            "volumes."
        )


def _worst(name: str, cohort: Cohort) -> Iterator[str]:
    results = cohort.get("default", Results())
    line, bound = results.get("network", ENSEMBLE), results.get("network", SUPERVISED)
    if line is None or "trust" not in line:
        return
    pair = min(line["trust"]["pairs"], key=lambda pair: pair["true"])
    flagged = "flagged" if pair["flagged"] else "not flagged"
    beside = ""
    if bound is not None:
        dice = bound["scores"]["cases"][pair["case"]][pair["class"]]["dice"]
        beside = f"; the supervised network has {number(dice or 0.0)} there"
    yield (
        f"{name}: the worst result is the {plain(pair['class'])} of {pair['case']}, Dice {number(pair['true'])}, "
        f"predicted {number(pair['predicted'])}, {flagged}{beside}."
    )


def _support_mask(name: str, cohort: Cohort) -> Iterator[str]:
    results = cohort.get("default", Results())
    accepted = [run for run in results.of("run") if run["support_mask"] == ACCEPTED]
    strokes = {(run["support"], run["variant"]) for run in accepted}
    grown = [
        run
        for run in results.of("run")
        if run["support_mask"] == AS_GROWN and (run["support"], run["variant"]) in strokes
    ]
    if accepted and len(grown) == len(accepted):
        own = statistics.fmean(run["support_mask_scores"]["mean_dice"] for run in grown)
        yield (
            f"{name}: the support mask that grows from strokes has a Dice of {number(own)} on the support itself; with "
            f"the true one instead, label maps by atlases alone have {_mean_dice(accepted)} instead of "
            f"{_mean_dice(grown)}."
        )


def _hard_organs(name: str, cohort: Cohort) -> Iterator[str]:
    for run in cohort.get("default", Results()).of(ALL_CLASSES):
        classes = run["scores"]["classes"]
        hard = [plain(c) for c, row in classes.items() if row["dice_mean"] is not None and row["dice_mean"] < FAILURE]
        counts = summary(run["trust"]["pairs"])
        silent = counts["failures"] - counts["failures_flagged"]
        if hard:
            yield (
                f"{name}: of {len(classes)} classes at once, {len(hard)} have a mean Dice below {FAILURE:g} "
                f"({listed(hard)}), and {of(silent, counts['failures'])} failures are not flagged."
            )


def _ranking(cohorts: Mapping[str, Cohort]) -> Iterator[str]:
    parts = []
    for name, cohort in cohorts.items():
        if pairs := grown_masks(cohort.get("default", Results())):
            numbers = summary(pairs)
            spread = statistics.pstdev(pair["true"] for pair in pairs)
            parts.append(
                f"{name} r {number(numbers['pearson_r'])} over {len(pairs)} results by atlases alone, whose true Dice "
                f"spreads by {number(spread)}, mean absolute error {number(numbers['mean_absolute_error'])}"
            )
    if parts:
        yield f"The self-check hardly ranks label maps of few organs that are mostly right: {'; '.join(parts)}."


def _points(name: str, cohort: Cohort) -> Iterator[str]:
    runs = [run for run in cohort.get("default", Results()).of("run") if run["support_mask"] == AS_GROWN]
    for organ in cohort["default"].head["classes"] if runs else []:
        rows = [row for run in runs for row in run["points"] if row["class"] == organ]
        kept = statistics.fmean(row["kept_mean"] for row in rows)
        right = statistics.fmean(row["precision_mean"] or 0.0 for row in rows)
        if kept < LEAST_KEPT or right < LEAST_RIGHT:
            yield (
                f"{name}: of the strokes' points that mode `default` locates in the {plain(organ)} a share of "
                f"{number(kept)} is kept, of which {number(right)} lie in it."
            )


def _resolution(name: str, cohort: Cohort) -> Iterator[str]:
    full = cohort.get("networks")
    if full is not None and (bound := full.get("network", SUPERVISED)) is not None:
        small = cohort["default"].get("network", SUPERVISED) if "default" in cohort else None
        before = "" if small is None else f" instead of {number(small['scores']['mean_dice'])}"
        points = " and the points of mode `paper` were" if PAPER_FULL in cohort else " was"
        yield (
            f"{name}: of the full configuration only the segmentation network (windows of "
            f"{full.head['recipe']['spacing_mm'][0]:g} mm voxels){points} measured; its recipe lifts the supervised "
            f"network to {number(bound['scores']['mean_dice'])}{before}, and pseudo labels stay those of the small one."
        )


def _slow_steps(name: str, cohort: Cohort) -> Iterator[str]:
    for line in cohort.get("limits", Results()).of("limit"):
        if line["median_s"] > line["limit_s"]:
            yield (
                f"{name}: one step takes longer than its limit of {line['limit_s']:.0f} s: {line['name']}, "
                f"{line['median_s']:.0f} s."
            )


def _mode_paper(name: str, cohort: Cohort, published: Mapping[str, Any]) -> Iterator[str]:
    results, alone = cohort.get("paper", Results()), cohort.get(PAPERS_RULES, Results())
    line, bounded = (results.get("network", network) for network in ("without_plc", "bounded_guarded_plc"))
    plain, corrected = (alone.get("network", network) for network in ("without_plc", "with_plc"))
    said = []
    if line is not None:
        beside, instead = "", ""
        if published:
            beside = f" (the paper reports {number(published['dice']['without_plc'])} on other data than ours)"
        if bounded is not None:
            instead = f"; with bounded labels and guarded correction, as `--small` has it, {_mean(bounded)}"
        said.append(
            f"mode `paper` with the small networks is far from the paper: with label maps as they grow mean Dice "
            f"{_mean(line)} without label correction{beside}{instead}."
        )
    if plain is not None and corrected is not None:
        said.append(
            f"{'By' if said else 'mode `paper` by'} the paper's rules alone, with the small networks, the mean Dice is "
            f"{_mean(plain)} without label correction and {_mean(corrected)} with it."
        )
    if said:
        yield f"{name}: {' '.join(said)}"


def _mean(line: Line) -> str:
    return number(line["scores"]["mean_dice"])


def _mean_dice(runs: Sequence[Line]) -> str:
    return f"{statistics.fmean(run['scores']['mean_dice'] for run in runs):.3f}"


SENTENCES: tuple[Callable[[str, Cohort], Iterator[str]], ...] = (
    _few_volumes,
    _worst,
    _support_mask,
    _hard_organs,
    _points,
    _resolution,
    _slow_steps,
)
