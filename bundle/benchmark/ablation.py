"""Mode `default` with one lever switched off at a time: masks of the test volumes, then trained networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bundle.benchmark import pages
from bundle.benchmark.runs import Bench, first_runs, open_bench
from bundle.benchmark.trained import score_network
from bundle.run_config import read_component
from bundle.stages import config_names
from scripts.evaluation import evaluate_folder

SMOOTH = {"map_rounds": "$SMOOTH_ROUNDS"}
FULL = "everything on"
# What is switched off, or else -> stage -> config keys.
MASKS: dict[str, dict[str, dict[str, Any]]] = {
    FULL: {},
    "smooth map instead of an affine one": {"correspondence": SMOOTH, "fusion": SMOOTH},
    "points instead of the region": {"pseudo_labels": {"confident_vote": "$None", "intensity_rounds": 0}},
    "region without limits": {"region": {"reach_share": 0.0, "neck_radius_mm": 0.0}},
    "background as soon a seed as a class": {"pseudo_labels": {"confident_background": "$None"}},
    "no intensities": {"pseudo_labels": {"intensity_rounds": 0}},
    "no helping cases": {"fusion": {"helpers": 0}},
    "air not excluded": {"pseudo_labels": {"body_only": False}},
}
# What is changed -> stage -> config keys. Each of these trainings takes a share of the epochs.
NETWORKS: dict[str, dict[str, dict[str, Any]]] = {
    FULL: {},
    "starts afresh": {"segmentation": {"start_from": None}},
    "classes not balanced": {"segmentation": {"class_balance": 0.0, "class_balance_end": 0.0}},
    "last weights, not their average": {"segmentation": {"average_decay": 0.0}},
    "little augmentation": {
        "segmentation": {"zoom": 0.15, "rotation_rad": 0.2, "gain": 0.1, "noise": 0.03, "gamma": [1.0, 1.0]}
    },
    "doubted pseudo labels teach too": {"segmentation": {"least_dice": 0.0}},
    "undecided band": {"pseudo_labels": {"undecided_margin": 0.1}},
    "label correction": {"segmentation": {"use_plc": True}},
}
EPOCH_SHARE = 3  # one third
RESAMPLES = 2000


def run(dataset_folder: Path, output: Path | None, page: Path, small: bool, device: str | None) -> dict[str, Any]:
    """Run every variant (again: continue), write `docs/benchmarks/ablation_NAME.json` and its part of the page.

    Works in the output folder of `benchmark default`, whose networks and results it uses.

    Args:
        dataset_folder: with `dataset.json`.
        output: work directory; None for `runs/default_NAME`.
        page: the Markdown page.
        small: the configuration for two CPU cores.
        device: such as "cuda:0"; None takes a GPU if there is one.
    """
    bench = open_bench(dataset_folder, output, small, device)
    bench.train()
    result: dict[str, Any] = {**bench.about(), "masks": {}, "networks": {}}
    for part, variants, measure in (("masks", MASKS, _masks), ("networks", NETWORKS, _network)):
        for words, changes in variants.items():
            result[part][words] = {"supports": measure(bench, words, changes)}
            pages.publish(page, "ablation", result, ablation_section(result))
    print(f"tables: {page}")
    return result


def _masks(bench: Bench, words: str, overrides: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Support -> scores of the test volumes' one-shot masks, from its first strokes, region as grown."""
    dataset, found = bench.dataset, {}
    for run in first_runs(dataset):
        folder = run.folder if words == FULL else f"ablation/{_slug(words)}_{run.support}"
        pipeline = bench.on_test(run, folder, overrides=overrides)
        pipeline.propagate()
        masks = pipeline.output / "pseudo_labels"
        found[run.support] = evaluate_folder(masks, dataset.labels, dataset.classes, dataset.test)
    return found


def _network(bench: Bench, words: str, overrides: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Scores of the test volumes by a network trained on the same pseudo labels, or on those made otherwise."""
    others = {stage: keys for stage, keys in overrides.items() if stage != "segmentation"}
    folder = f"ablation/labels_{_slug(words)}" if others else "one_shot"
    pipeline = bench.on_unlabelled(folder, overrides=others)
    pipeline.propagate()
    epochs = read_component(config_names("segmentation", pipeline.settings), "max_epochs") // EPOCH_SHARE
    variant = f"ablation_{_slug(words)}"
    model = pipeline.train_segmentation(variant, {"max_epochs": epochs, **overrides.get("segmentation", {})})
    votes_dir = bench.on_test(first_runs(bench.dataset)[0]).output / "propagation"  # so that nothing is done twice
    scores = score_network(bench.dataset, model, pipeline.output / f"test_{variant}", bench.device, votes_dir)
    return {bench.dataset.support: scores}


def _slug(words: str) -> str:
    return words.replace(",", "").replace(" ", "_")


def ablation_section(result: Mapping[str, Any]) -> str:
    """Everything `benchmark ablation` measured on one cohort."""
    name = result["dataset"]
    parts = [
        f"### Ablation, {name}",
        f"`python -m bundle benchmark ablation --dataset DIR/{name}`; {result['configuration']} configuration; "
        f"{pages.processor(result)}; strokes a, region as grown. Dice on the {len(result['test_cases'])} volumes of "
        "the `test` list, full original grid; the change is the mean over volumes with its 95 % interval (paired "
        f"bootstrap over volumes, {RESAMPLES} resamples). Raw numbers: "
        f"`docs/benchmarks/ablation_{name}.json`.",
        f"**One-shot masks, one lever off,** mean over the supports {', '.join(result['masks'][FULL]['supports'])}.",
        _table(result["masks"], list(result["classes"])),
    ]
    if result["networks"]:
        words = (
            f"**Networks trained on the pseudo labels** from `{result['support']}`, each, also the first, for a third "
            "of the epochs."
        )
        parts += [words, _table(result["networks"], list(result["classes"]))]
    return "\n\n".join(parts)


def _table(variants: Mapping[str, Mapping[str, Any]], classes: Sequence[str]) -> str:
    whole = variants[FULL]
    rows = []
    for words, found in variants.items():
        scores = found["supports"].values()
        means = [np.mean([one["classes"][name]["dice_mean"] for one in scores]) for name in classes]
        means.append(np.mean([one["mean_dice"] for one in scores]))
        rows.append([words, *map(pages.number, means), "" if words == FULL else _change(whole, found)])
    return pages.table(["", *classes, "mean", "change"], rows)


def _change(whole: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    difference = case_dice(found) - case_dice(whole)
    low, high = bootstrap_interval(difference)
    return f"{difference.mean():+.3f} ({low:+.3f} to {high:+.3f})"


def case_dice(found: Mapping[str, Any]) -> np.ndarray:
    """Mean Dice of every case over supports and classes; a class that the truth lacks does not count.

    A class that was not found is 0.
    """
    return np.mean([_case_dice(scores["cases"]) for scores in found["supports"].values()], axis=0)


def _case_dice(cases: Mapping[str, Any]) -> list[float]:
    return [
        np.mean([found["dice"] or 0.0 for found in classes.values() if found["status"] != "absent"])
        for classes in cases.values()
    ]


def bootstrap_interval(values: np.ndarray, resamples: int = RESAMPLES) -> tuple[float, float]:
    """95 % interval of the mean, by drawing cases with replacement; always the same draws."""
    generator = np.random.default_rng(0)
    means = values[generator.integers(0, len(values), (resamples, len(values)))].mean(axis=1)
    return tuple(np.percentile(means, [2.5, 97.5]).tolist())
