"""The part of a cohort's page that `benchmark default` measured, and that of `benchmark networks`."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from bundle.benchmark.results import ALL_CLASSES, ALL_CLASSES_NETWORK, AS_GROWN, Line, Results
from bundle.benchmark.tables import captions
from bundle.benchmark.tables.bootstrap import RESAMPLES, worst_dice
from bundle.benchmark.tables.markdown import NOTHING, listed, mean_sd, number, table
from bundle.benchmark.tables.networks import NETWORK_WORDS, dice_cells, network_table
from bundle.benchmark.tables.self_check import (
    FLAGS,
    JUDGED,
    MEANING,
    all_classes_of_each_support,
    coverage_table,
    flag_cells,
    grown_masks,
    judged_networks,
    pooled_pairs,
    trust_cells,
    trust_table,
)

GROWN_MASKS = f"masks, support mask {AS_GROWN}"


def default_section(results: Results) -> str:
    """Everything `benchmark default` measured on one cohort."""
    head = results.head
    others = list(dict.fromkeys(line["dataset"] for line in results.of("out_of_distribution")))
    more = "".join(f" --out-of-distribution DIR/{name}" for name in others)
    supports = list(dict.fromkeys(run["support"] for run in results.of("run")))
    masks = judged_networks(results) | {run["name"]: run["trust"]["pairs"] for run in results.of("run")}
    kinds = judged_networks(results) | {GROWN_MASKS: grown_masks(results)}
    parts = [
        "## Mode `default`",
        f"{captions.command('default', head['name'], more)}; {captions.data(results)}; {captions.SCORED}; "
        f"{captions.origin(results.lines)}. Supports {', '.join(f'`{name}`' for name in supports)}. "
        + captions.raw(head["name"], "default"),
        *_trained_networks(results),
        "**One-shot masks of the test volumes, no segmentation network.** Dice, mean over volumes; then mean ± "
        "standard deviation over supports and scribble variants.",
        _mask_table(results),
        "**Support masks as they grew,** Dice on the support itself.",
        _support_mask_table(results),
        f"**Self-check of the networks' label maps and of these masks.** {MEANING}",
        trust_table(masks),
        "**Risk and coverage.** Mean true Dice of the results with the best predicted Dice, the others put aside.",
        coverage_table(kinds),
        *(part for run in results.of(ALL_CLASSES) for part in _all_classes(run)),
        *_all_classes_networks(results.of(ALL_CLASSES_NETWORK)),
        *_from_each_support(results),
        *_out_of_distribution(results.of("out_of_distribution")),
        f"**Points.** Share kept, and share of the kept that lie in the right organ, mean over volumes. {_limit(head)}",
        _point_table(results),
        *_stages(results.of("stages")),
    ]
    return "\n\n".join(parts)


def _trained_networks(results: Results) -> list[str]:
    """Nothing where label maps by atlases alone were measured."""
    if not results.of("network"):
        return []
    return [
        f"**Trained networks.** Support `{results.head['support']}`, strokes a, support mask as grown. Dice on the "
        "test volumes, mean over volumes; worst: of any volume and class; pseudo labels on the unlabelled volumes "
        "but the support. Differences: mean over volumes of their classes' mean, with its 95 % interval (paired "
        f"bootstrap over volumes, {RESAMPLES} resamples).",
        network_table(results),
    ]


def _stages(lines: list[Line]) -> list[str]:
    if not lines:
        return []
    return [
        "**Time and peak memory per stage.** Wall-clock seconds, peak resident memory of the whole process.",
        stage_table(lines),
    ]


def networks_section(results: Results) -> str:
    """Everything `benchmark networks` measured on one cohort."""
    name, recipe = results.head["name"], results.head["recipe"]
    side, step = recipe["patch_size"][0], recipe["spacing_mm"][0]
    devices = list(dict.fromkeys(line["trained_on"] for line in results.of("network") if "trained_on" in line))
    parts = [
        "## Networks of the full recipe",
        f"{captions.command('networks', name)}; pseudo labels, class probabilities and embedding network of the small "
        f"configuration; segmentation networks in windows of {side} voxels of {step:g} mm, "
        f"{recipe['max_epochs']} epochs of {recipe['samples_per_epoch']} volumes, {recipe['batch_size']} at a "
        f"time, trained on {listed(devices) or 'nothing yet'}; scores as above, "
        f"{captions.origin(results.lines)}. {captions.raw(name, 'networks')}",
        network_table(results),
        f"**Self-check of their label maps.** {MEANING}",
        trust_table(judged_networks(results)),
        "**Risk and coverage.**",
        coverage_table(judged_networks(results)),
    ]
    return "\n\n".join(parts)


def stage_table(lines: Sequence[Line]) -> str:
    """Seconds and memory of every stage of every work directory."""
    rows = [
        [f"{stage} ({line['name']})", f"{entry['seconds']:.0f}", f"{entry.get('peak_memory_mb', 0):.0f}"]
        for line in lines
        for stage, entry in line["stages"].items()
    ]
    return table(["stage (of)", "seconds", "peak MB"], rows)


def _limit(head: Line) -> str:
    limit = head.get("least_point_probability")
    return "" if limit is None else f"A point is kept where its class's probability exceeds {limit:g}."


def _mask_table(results: Results) -> str:
    classes = list(results.head["classes"])
    rows = []
    for support_mask in dict.fromkeys(run["support_mask"] for run in results.of("run")):
        runs = [run for run in results.of("run") if run["support_mask"] == support_mask]
        masks = [run["scores"] for run in runs]
        rows += [[run["name"], *dice_cells(run["scores"], classes)] for run in runs]
        spread = [_spread([scores["classes"][name]["dice_mean"] for scores in masks]) for name in classes]
        spread.append(_spread([scores["mean_dice"] for scores in masks]))
        rows.append([f"**all, support mask {support_mask}**", *spread, number(worst_dice(masks))])
    return table(["", *classes, "mean", "worst"], rows)


def _support_mask_table(results: Results) -> str:
    classes = list(results.head["classes"])
    runs = [run for run in results.of("run") if run["support_mask_scores"] is not None]
    rows = [
        [
            f"{run['support']} {run['variant']}",
            *(number(run["support_mask_scores"]["classes"][name]["dice_mean"]) for name in classes),
            number(run["support_mask_scores"]["mean_dice"]),
        ]
        for run in runs
    ]
    return table(["", *classes, "mean"], rows)


def _all_classes(run: Line) -> list[str]:
    scores = run["scores"]
    words = f"**All {len(scores['classes'])} classes**, {run['name']}: one-shot masks, no network."
    rows = []
    for name, row in scores["classes"].items():
        pairs = [pair for pair in run["trust"]["pairs"] if pair["class"] == name]
        own = (run["support_mask_scores"] or {"classes": {}})["classes"].get(name, {}).get("dice_mean")
        if not pairs:
            rows.append([name, number(own), *[NOTHING] * 5])
            continue
        worst, predicted = min(pair["true"] for pair in pairs), statistics.fmean(pair["predicted"] for pair in pairs)
        quality = mean_sd(row["dice_mean"], row["dice_sd"])
        rows.append([name, number(own), quality, number(worst), number(predicted), *flag_cells(pairs)])
    own = None if run["support_mask_scores"] is None else run["support_mask_scores"]["mean_dice"]
    of_all = [number(own), number(scores["mean_dice"]), number(worst_dice([scores])), NOTHING]
    rows.append(["**all**", *of_all, *flag_cells(run["trust"]["pairs"])])
    return [words, table(["", "support mask", "Dice", "worst", "predicted", *FLAGS], rows)]


def _all_classes_networks(lines: Sequence[Line]) -> list[str]:
    """Heading and table; nothing if none was measured."""
    if not lines:
        return []
    names = list(lines[0]["scores"]["classes"])
    rows = [[name, *(number(line["scores"]["classes"][name]["dice_mean"]) for line in lines)] for name in names]
    rows.append(["**all**", *(number(line["scores"]["mean_dice"]) for line in lines)])
    flags = [flag_cells(line["trust"]["pairs"]) if "trust" in line else [NOTHING] * len(FLAGS) for line in lines]
    rows += [[words, *cells] for words, *cells in zip(FLAGS, *flags, strict=True)]
    words = (
        "**Networks of all classes,** same support and strokes. Dice, mean over volumes; pseudo labels on the "
        "unlabelled volumes but the support."
    )
    return [words, table(["", *(NETWORK_WORDS[line["name"]] for line in lines)], rows)]


def _from_each_support(results: Results) -> list[str]:
    """Heading and table; nothing if only one support was measured."""
    runs = all_classes_of_each_support(results)
    if len(runs) < 2:
        return []
    rows = []
    for name in runs[0]["scores"]["classes"]:
        dice = [run["scores"]["classes"][name]["dice_mean"] for run in runs]
        rows.append([name, *map(number, dice), _spread(dice)])
    means = [run["scores"]["mean_dice"] for run in runs]
    rows.append(["**all**", *map(number, means), _spread(means)])
    trust = [trust_cells(run["trust"]["pairs"]) for run in runs]
    pooled = trust_cells(pooled_pairs(runs))
    rows += [list(cells) for cells in zip(JUDGED, *trust, pooled, strict=True)]
    words = (
        "**All classes from each support,** strokes a, support mask as grown: one-shot masks, no network. Dice, mean "
        "over volumes; last the mean ± standard deviation over supports, of the self-check all results together."
    )
    return [words, table(["", *(run["support"] for run in runs), "all supports"], rows)]


def _out_of_distribution(lines: Sequence[Line]) -> list[str]:
    """Heading and table; nothing if none was measured."""
    if not lines:
        return []
    rows = []
    for line in lines:
        predicted = [f"{name} {number(check['predicted_dice'])}" for name, check in line["classes"].items()]
        flagged = "yes" if line["flagged"] else "**no**"
        rows.append([line["case"], number(line["similarity"]), flagged, ", ".join(predicted)])
    names = ", ".join(dict.fromkeys(f"`{line['dataset']}`" for line in lines))
    return [
        f"**Volumes of another body part** ({names}), segmented by atlases and the network together.",
        table(["", "similarity of the body", "whole case flagged", "predicted Dice"], rows),
    ]


def _point_table(results: Results) -> str:
    names = [*results.head["classes"], "background"]
    rows = []
    for run in (run for run in results.of("run") if run["support_mask"] == AS_GROWN):
        by_class = {row["class"]: row for row in run["points"]}
        cells = [f"{by_class[n]['kept_mean']:.2f} / {number(by_class[n]['precision_mean'])}" for n in names]
        rows.append([f"{run['support']} {run['variant']}", *cells])
    return table(["", *(f"{name}: kept / right" for name in names)], rows)


def _spread(values: Sequence[float | None]) -> str:
    present = [value for value in values if value is not None]
    return mean_sd(statistics.fmean(present), statistics.pstdev(present)) if present else NOTHING
