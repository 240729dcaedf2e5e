"""Parts of the results page: what is reached on each cohort, for all organs, by the self-check, and how fast."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bundle.benchmark.painted_table import painted_in_short
from bundle.benchmark.results import (
    ALL_CLASSES,
    ALL_CLASSES_NETWORK,
    AS_GROWN,
    ENSEMBLE,
    ONE_SHOT,
    PAINTED,
    SUPERVISED,
    Cohort,
    Line,
    Results,
)
from bundle.benchmark.tables import captions
from bundle.benchmark.tables.bootstrap import worst_dice
from bundle.benchmark.tables.markdown import NOTHING, listed, number, of, plain, table
from bundle.benchmark.tables.networks import NETWORK_WORDS, dice_cells
from bundle.benchmark.tables.self_check import (
    FLAGS,
    Pairs,
    all_classes_of_each_support,
    flag_cells,
    grown_masks,
    pooled_pairs,
    trust_cells,
)
from bundle.benchmark.tables.speed import speed_in_short
from bundle.pipeline.configs import read_component
from scripts.quality.calibration import interval_coverage, kept_quality
from scripts.quality.evidence import TrustRule

SHARES = (1.0, 0.9, 0.5)  # of the results, those of the best predicted Dice, kept
NETWORKS = (ENSEMBLE, ONE_SHOT, SUPERVISED)
ATLASES_ALONE = "atlases alone"
DICE_BANDS = {"0.7 and above": (0.7, 1.1), "0.5 to 0.7": (0.5, 0.7), "below 0.5": (0.0, 0.5)}


def reached(name: str, cohort: Cohort) -> str:
    """One cohort: networks, masks, and the same networks by the full recipe."""
    results = cohort["default"]
    classes, lines = list(results.head["classes"]), [*results.of("network"), *results.of("run")]
    rows = _network_rows(results, "")
    if runs := [run["scores"] for run in results.of("run") if run["support_mask"] == AS_GROWN]:
        rows.append([f"atlases alone, no network, mean of {len(runs)} runs", *_mean_cells(runs, classes), NOTHING])
    commands = captions.command("default", name)
    if (full := cohort.get("networks")) is not None:
        rows += _network_rows(full, "full recipe: ")
        lines += full.of("network")
        commands += f" and, for the full recipe, {captions.command('networks', name)}"
    devices = sorted({line["trained_on"] for line in lines if "trained_on" in line})
    trained = f", the full recipe's networks trained on {', '.join(devices)}" if devices else ""
    words = (
        f"{commands}; {captions.data(results)}; support `{results.head['support']}`, the first of its sets of strokes; "
        f"{captions.origin(lines, commits=False)}{trained}."
    )
    header = ["", *map(plain, classes), "mean", "worst", "of the supervised"]
    return "\n".join([f"### {name}", "", words, "", table(header, rows)])


def in_short(name: str, cohort: Cohort) -> str:
    """A sentence a cohort; "" before its networks were measured."""
    results = cohort["default"]
    line, bound = results.get("network", ENSEMBLE), results.get("network", SUPERVISED)
    if line is None or bound is None:
        return ""
    organs = listed([plain(organ) for organ in results.head["classes"]])
    supervised = f"the supervised network has {number(bound['scores']['mean_dice'])}"
    full = cohort.get("networks", Results()).get("network", SUPERVISED)
    if full is not None:
        supervised += f", by the full recipe {number(full['scores']['mean_dice'])}"
    return f"- {name} ({organs}): mean Dice {number(line['scores']['mean_dice'])}; {supervised}."


def all_organs(cohorts: Mapping[str, Cohort]) -> str:
    """Every class of every cohort's run with all classes at once, by how well it is reached; "" if there is none."""
    runs = [
        (name, words, run)
        for name, cohort in cohorts.items()
        for words, run in _all_classes(cohort.get("default", Results())).items()
    ]
    if not runs:
        return ""
    rows = []
    for name, by, run in runs:
        scores, pairs = run["scores"], run["trust"]["pairs"]
        mean, worst = number(scores["mean_dice"]), number(worst_dice([scores]))
        rows.append([f"{name}, {len(scores['classes'])} classes, {by}", *_organ_cells(run), f"{mean} ({worst})"])
        rows[-1] += flag_cells(pairs)
    words = (
        "All labelled classes at once from one scribbled volume: part of "
        f"{captions.command('default', 'COHORT')}; {captions.origin([run for *_, run in runs], commits=False)}. Mean "
        "Dice of each class, its worst volume in brackets. A failure is a Dice below 0.5; a false flag is one on "
        f"anything else.{_supervised(cohorts)}{_by_support(cohorts)}{painted_in_short(cohorts)}"
    )
    header = ["", *DICE_BANDS, "all", *FLAGS]
    return "\n".join(["## All organs", "", words, "", table(header, rows)])


def _supervised(cohorts: Mapping[str, Cohort]) -> str:
    """What the fully supervised network has for all classes at once, in a sentence; "" where none was measured."""
    parts = []
    for name, cohort in cohorts.items():
        if (line := cohort.get("default", Results()).get(ALL_CLASSES_NETWORK, SUPERVISED)) is not None:
            parts.append(f"{number(line['scores']['mean_dice'])} on {name}")
    return f" The fully supervised network of all classes has {listed(parts)}." if parts else ""


def _by_support(cohorts: Mapping[str, Cohort]) -> str:
    """How much it matters which volume is scribbled, in a sentence; "" where one support was measured."""
    parts = []
    for name, cohort in cohorts.items():
        runs = all_classes_of_each_support(cohort.get("default", Results()))
        if len(runs) > 1:
            means = [f"{number(run['scores']['mean_dice'])} from `{run['support']}`" for run in runs]
            parts.append(f"{name} {listed(means)}")
    return f" The table is of the first support; by the atlases alone: {'; '.join(parts)}." if parts else ""


def trust(cohorts: Mapping[str, Cohort]) -> str:
    """Calibration, and what is gained by putting the results of the lowest predicted Dice aside."""
    rows, lines, rule = [], [], read_component(["self_check.json"], "rule")
    for name, cohort in cohorts.items():
        results = cohort.get("default", Results())
        for words, pairs in (_judged(results) | _judged_painted(cohort.get("painted", Results()))).items():
            rows.append([name, words, f"{len(pairs)}", *trust_cells(pairs), _held(pairs, rule), *_kept_cells(pairs)])
        lines += [line for line in results.lines if "trust" in line]
    words = (
        "The self-check predicts the Dice of every (case, class) without labels and flags what a user should look at: "
        f"{captions.command('default', 'COHORT')}; test volumes, small configuration; "
        f'{captions.origin(lines, commits=False)}. "Held": how many intervals of the present rule, meant for nine '
        "of ten, held the true Dice. The last columns are the mean true Dice of the results with the best predicted "
        "Dice (risk and coverage), over results, not over classes as elsewhere."
    )
    kept = [f"best {round(100 * share)} %" for share in SHARES]
    header = ["cohort", "label maps", "results", "Pearson's r", "mean absolute error", *FLAGS, "held", *kept]
    return "\n".join(
        ["## Calibration, risk and coverage", "", words, "", table(header, rows), *_out_of_distribution(cohorts)]
    )


def _held(pairs: Pairs, rule: TrustRule) -> str:
    """How many intervals of the present rule, which predicted Dice alone decides, held the true Dice."""
    limits = [rule.interval(pair["predicted"]) for pair in pairs]
    told = [{"true": pair["true"], "interval": interval} for pair, interval in zip(pairs, limits, strict=True)]
    return of(round(interval_coverage(told) * len(told)), len(told)) if told else NOTHING


def speed(cohorts: Mapping[str, Cohort]) -> str:
    """What a case takes, or single steps against their limits, and what the whole mode took."""
    parts = ["## Speed"]
    for name, cohort in cohorts.items():
        if (results := cohort.get("limits")) is not None and "speed" not in cohort:
            rows = [[line["name"], f"{line['median_s']:.1f}", f"{line['limit_s']:.0f}"] for line in results.of("limit")]
            words = f"{captions.command('limits', name)}; {captions.origin(results.of('limit'), commits=False)}."
            parts += ["", words, "", table(["step", "median s", "limit s"], rows)]
    sentences = [speed_in_short(cohort["speed"]) for cohort in cohorts.values() if "speed" in cohort]
    sentences += [_minutes(name, cohort["default"]) for name, cohort in cohorts.items() if "default" in cohort]
    return "\n".join([*parts, "", *filter(None, sentences)])


def _network_rows(results: Results, prefix: str) -> list[list[str]]:
    classes, bound = list(results.head["classes"]), results.get("network", SUPERVISED)
    rows = []
    for name in NETWORKS:
        if (line := results.get("network", name)) is not None:
            share = NOTHING
            if bound is not None and name != SUPERVISED:
                share = number(line["scores"]["mean_dice"] / bound["scores"]["mean_dice"])
            words = _alone(name)
            rows.append([prefix + words, *dice_cells(line["scores"], classes), share])
    return rows


def _mean_cells(runs: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> list[str]:
    means = [statistics.fmean(scores["classes"][name]["dice_mean"] for scores in runs) for name in classes]
    return [
        *map(number, means),
        number(statistics.fmean(scores["mean_dice"] for scores in runs)),
        number(worst_dice(runs)),
    ]


def _all_classes(results: Results) -> dict[str, Line]:
    """In words, by what -> the line of all classes; what else was measured of them stands on the cohort's page."""
    lines = {
        ATLASES_ALONE: next(iter(results.of(ALL_CLASSES)), None),
        NETWORK_WORDS[ENSEMBLE]: results.get(ALL_CLASSES_NETWORK, ENSEMBLE),
    }
    return {words: line for words, line in lines.items() if line is not None}


def _alone(network: str) -> str:
    return NETWORK_WORDS[network].replace(" trained on them", " alone")


def _organ_cells(run: Line) -> list[str]:
    """Of every band of Dice its classes, best first; a class that no test volume has is left out."""
    classes = run["scores"]["classes"]
    dice = {organ: row["dice_mean"] for organ, row in classes.items() if row["dice_mean"] is not None}
    worst = {organ: min(p["true"] for p in run["trust"]["pairs"] if p["class"] == organ) for organ in dice}
    best_first = sorted(dice, key=lambda organ: -dice[organ])
    return [
        ", ".join(f"{plain(o)} {number(dice[o])} ({number(worst[o])})" for o in best_first if low <= dice[o] < high)
        or NOTHING
        for low, high in DICE_BANDS.values()
    ]


def _judged(results: Results) -> dict[str, Pairs]:
    """What the self-check judged, the networks first."""
    lines = {name: results.get("network", name) for name in (ENSEMBLE, ONE_SHOT)}
    judged: dict[str, Pairs] = {
        _alone(name): line["trust"]["pairs"] for name, line in lines.items() if line is not None and "trust" in line
    }
    runs = [run for run in results.of("run") if run["support_mask"] == AS_GROWN]
    if runs:
        judged[f"atlases alone, {len(runs)} runs"] = grown_masks(results)
    each = all_classes_of_each_support(results)
    for words, line in _all_classes(results).items():
        every = f"{words}, all {len(line['scores']['classes'])} classes"
        if words == ATLASES_ALONE and len(each) > 1:
            judged[f"{every}, {len(each)} supports"] = pooled_pairs(each)
        else:
            judged[every] = line["trust"]["pairs"]
    return judged


def _judged_painted(painted: Results) -> dict[str, Pairs]:
    if not (runs := painted.of(PAINTED)):
        return {}
    count, slices = len(runs[0]["scores"]["classes"]), painted.head["painted_slices"]
    words = f"{ATLASES_ALONE}, all {count} classes, painted whole on {slices} slices, {len(runs)} supports"
    return {words: pooled_pairs(runs)}


def _kept_cells(pairs: Pairs) -> list[str]:
    coverage, quality = kept_quality([pair["predicted"] for pair in pairs], [pair["true"] for pair in pairs])
    return [number(float(quality[np.searchsorted(coverage, share - 1e-9)])) for share in SHARES]


def _out_of_distribution(cohorts: Mapping[str, Cohort]) -> list[str]:
    """A sentence a cohort on volumes of another body part."""
    sentences = []
    for name, cohort in cohorts.items():
        lines: list[Line] = cohort["default"].of("out_of_distribution") if "default" in cohort else []
        if lines:
            flagged = of(sum(line["flagged"] for line in lines), len(lines))
            others = ", ".join(dict.fromkeys(line["dataset"] for line in lines))
            sentences += [
                "",
                f"Among the cases of {name}, {flagged} volumes of another body part ({others}) are flagged as a whole; "
                f"{captions.origin(lines, commits=False)}.",
            ]
    return sentences


def _minutes(name: str, results: Results) -> str:
    """What embedding network, propagation and segmentation network took on a cohort."""
    stages = {stage: entry["seconds"] for line in results.of("stages") for stage, entry in line["stages"].items()}
    training = sum(seconds for stage, seconds in stages.items() if stage.startswith("segmentation"))
    if "embedding" not in stages or not training:
        return ""
    return (
        f"- {name}: from {len(results.head['unlabelled_cases'])} unlabelled volumes to a trained network in "
        f"{sum(stages.values()) / 60:.0f} minutes, {stages.get('embedding', 0.0) / 60:.0f} of them the embedding "
        f"network, {training / 60:.0f} the segmentation network; "
        f"{captions.origin(results.of('stages'), commits=False)}."
    )
