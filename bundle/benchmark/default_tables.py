"""The tables of `benchmark default`, from the measured JSON."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bundle.benchmark import pages
from bundle.benchmark.bootstrap import RESAMPLES, change, worst_dice
from bundle.benchmark.out_of_distribution import out_of_distribution_section
from scripts.quality.calibration import kept_quality, summary

NETWORK_WORDS = {
    "pseudo_labels": "pseudo labels",
    "one_shot": "network trained on them",
    "one_shot_joined": "network and votes together",
    "supervised": "network, fully supervised",
}
COVERAGE = (1.0, 0.9, 0.75, 0.5, 0.25)


def default_section(result: Mapping[str, Any]) -> str:
    """Everything `benchmark default` measured on one cohort."""
    name = result["dataset"]
    supports = list(dict.fromkeys(run["support"] for run in result["runs"]))
    out_of_distribution = (
        f" --strangers DIR/{result['out_of_distribution']['dataset']}" if result["out_of_distribution"] else ""
    )
    return "\n\n".join(
        [
            f"### Mode `default`, {name}",
            f"`python -m bundle benchmark default --dataset DIR/{name}{out_of_distribution}`; {result['configuration']} "
            "configuration; "
            f"{pages.processor(result)}; supports {', '.join(f'`{s}`' for s in supports)}; "
            f"{len(result['unlabelled_cases'])} unlabelled volumes, scores on the "
            f"{len(result['test_cases'])} volumes of the `test` list, full original grid. Raw "
            f"numbers: `docs/benchmarks/default_{name}.json`.",
            f"**Trained networks.** Support `{result['support']}`, strokes a, region as grown. Dice on the "
            "test volumes, mean over volumes; worst: of any volume and class; pseudo labels on the unlabelled volumes "
            "but the support. Differences: mean over volumes of their classes' mean, with its 95 % interval (paired "
            f"bootstrap over volumes, {RESAMPLES} resamples).",
            _network_table(result),
            "**One-shot masks of the test volumes, no segmentation network.** Dice, mean over volumes; then mean ± "
            "standard deviation over supports and scribble variants.",
            _mask_table(result),
            "**Self-check of the networks' label maps and of these masks.** Predicted against true Dice of every "
            "(case, class); a failure is a true Dice below 0.5; a false flag is one on anything else.",
            _trust_table(result),
            "**Risk and coverage.** Mean true Dice of the results with the best predicted Dice, the others put aside.",
            _coverage_table(result),
            *_all_classes_section(result["all_classes"]),
            *out_of_distribution_section(result["out_of_distribution"]),
            "**Points.** Share kept, and share of the kept that lie in the right organ, mean over volumes.",
            _point_table(result),
        ]
    )


def networks_section(result: Mapping[str, Any]) -> str:
    """Everything `benchmark networks` measured on one cohort."""
    name, recipe = result["dataset"], result["recipe"]
    side, step = recipe["patch_size"][0], recipe["spacing_mm"][0]
    return "\n\n".join(
        [
            f"### Networks of the full recipe, {name}",
            f"`python -m bundle benchmark networks --dataset DIR/{name}`; pseudo labels, votes and embedding network "
            f"of the small configuration; segmentation networks in windows of {side} voxels of {step:g} mm, "
            f"{recipe['max_epochs']} epochs of {recipe['samples_per_epoch']} volumes, {recipe['batch_size']} at a "
            f"time, trained on {result.get('trained_on', 'nothing yet')}. Scores as in the section of mode `default`. "
            f"Raw numbers: `docs/benchmarks/networks_{name}.json`.",
            _network_table(result),
            _trust_table(result),
        ]
    )


def _network_table(result: Mapping[str, Any]) -> str:
    classes, measured = list(result["classes"]), result["networks"]
    bound = measured.get("supervised")
    rows = []
    for name, words in NETWORK_WORDS.items():
        if (scores := measured.get(name)) is None:
            continue
        beside = bound is not None and name in ("one_shot", "one_shot_joined")
        share = pages.number(scores["mean_dice"] / bound["mean_dice"]) if beside else "–"
        rows.append([words, *_dice(scores, classes), share, change([scores], [bound]) if beside else "–"])
    return pages.table(["", *classes, "mean", "worst", "of the supervised", "difference from it"], rows)


def _mask_table(result: Mapping[str, Any]) -> str:
    classes = list(result["classes"])
    rows = []
    for region in dict.fromkeys(run["support_mask"] for run in result["runs"]):
        runs = [run for run in result["runs"] if run["support_mask"] == region]
        masks = [run["pseudo_labels"] for run in runs]
        rows += [[pages.run_name(run), *_dice(run["pseudo_labels"], classes)] for run in runs]
        spread = [_spread([scores["classes"][name]["dice_mean"] for scores in masks]) for name in classes]
        spread.append(_spread([scores["mean_dice"] for scores in masks]))
        rows.append([f"**all, region {region}**", *spread, pages.number(worst_dice(masks))])
    return pages.table(["", *classes, "mean", "worst"], rows)


def _dice(scores: Mapping[str, Any], classes: Sequence[str]) -> list[str]:
    """Of every class, their mean, and the worst of any case and class."""
    values = [*(scores["classes"][name]["dice_mean"] for name in classes), scores["mean_dice"], worst_dice([scores])]
    return list(map(pages.number, values))


def _all_classes_section(run: Mapping[str, Any]) -> list[str]:
    if not run:
        return []
    words = (
        f"**All {len(run['pseudo_labels']['classes'])} classes**, {pages.run_name(run)}: one-shot masks, no network."
    )
    return [words, _all_classes_table(run)]


def _all_classes_table(run: Mapping[str, Any]) -> str:
    scores, rows = run["pseudo_labels"], []
    for name, row in scores["classes"].items():
        pairs = [pair for pair in run["trust"]["pairs"] if pair["class"] == name]
        if not pairs:
            rows.append([name, *"–––––"])
            continue
        worst, predicted = min(pair["true"] for pair in pairs), statistics.fmean(pair["predicted"] for pair in pairs)
        quality = pages.mean_sd(row["dice_mean"], row["dice_sd"])
        rows.append([name, quality, pages.number(worst), pages.number(predicted), *_flag_cells(summary(pairs))])
    of_all = [pages.number(scores["mean_dice"]), pages.number(worst_dice([scores])), "–"]
    rows.append(["**all**", *of_all, *_flag_cells(run["trust"])])
    return pages.table(["", "Dice", "worst", "predicted", "failures flagged", "false flags"], rows)


def _trust_table(result: Mapping[str, Any]) -> str:
    rows = []
    networks = {words: result["networks"][name] for name, words in _judged_networks(result).items()}
    runs = {pages.run_name(run): run for run in result.get("runs", [])}
    for name, scores in {**networks, **runs}.items():
        found = scores["trust"]
        numbers = [pages.number(found[key]) for key in ("pearson_r", "mean_absolute_error")]
        rows.append([name, *numbers, *_flag_cells(found)])
    return pages.table(["", "Pearson's r", "mean absolute error", "failures flagged", "false flags"], rows)


def _flag_cells(found: Mapping[str, Any]) -> list[str]:
    """Failures flagged and false flags; `found` as `summary` returns it."""
    good = found["results"] - found["failures"]
    return [f"{found['failures_flagged']} of {found['failures']}", f"{found['false_flags']} of {good}"]


def _coverage_table(result: Mapping[str, Any]) -> str:
    kinds = {words: result["networks"][name]["trust"]["pairs"] for name, words in _judged_networks(result).items()}
    grown = [run["trust"]["pairs"] for run in result["runs"] if run["support_mask"] == "as grown"]
    kinds["masks, region as grown"] = [pair for pairs in grown for pair in pairs]
    rows = []
    for words, pairs in kinds.items():
        if not pairs:
            continue
        coverage, quality = kept_quality(*([pair[key] for pair in pairs] for key in ("predicted", "true")))
        at = [quality[np.searchsorted(coverage, share - 1e-9)] for share in COVERAGE]
        rows.append([words, f"{len(pairs)}", *map(pages.number, at)])
    return pages.table(["", "results", *(f"best {round(100 * share)} %" for share in COVERAGE)], rows)


def _judged_networks(result: Mapping[str, Any]) -> dict[str, str]:
    """Name -> words of the networks that the self-check judged."""
    return {name: NETWORK_WORDS[name] for name, scores in result["networks"].items() if "trust" in scores}


def _point_table(result: Mapping[str, Any]) -> str:
    names = [*result["classes"], "background"]
    rows = []
    for run in (run for run in result["runs"] if run["support_mask"] == "as grown"):
        by_class = {row["class"]: row for row in run["points"]}
        cells = [f"{by_class[n]['kept_mean']:.2f} / {pages.number(by_class[n]['precision_mean'])}" for n in names]
        rows.append([f"{run['support']} {run['variant']}", *cells])
    return pages.table(["", *(f"{name}: kept / right" for name in names)], rows)


def _spread(values: Sequence[float | None]) -> str:
    present = [value for value in values if value is not None]
    if not present:
        return "–"
    return f"{statistics.fmean(present):.3f} ± {statistics.pstdev(present):.3f}"
