"""Mode `default` with one lever switched off at a time: masks of the test volumes, then trained networks."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bundle.benchmark import pages
from bundle.benchmark.bootstrap import RESAMPLES, change
from bundle.benchmark.runs import Bench, first_runs, open_bench
from bundle.benchmark.trained import score_network
from bundle.datasets.links import link_images
from bundle.pipeline.configs import read_component
from bundle.pipeline.pipeline import Pipeline
from bundle.pipeline.stages import config_names
from scripts.quality.evaluation import evaluate_folder

SMOOTH = {"map_rounds": "$SMOOTH_ROUNDS"}
VOTES_ALONE = {"warped_share": 0.0}
BY_CELLS = {"registration_half_steps": 0, "registration_steps": 0}
FULL = "everything on"
# What is switched off, or on, or else -> stage -> config keys; what was measured before by other means comes last.
MASKS: dict[str, dict[str, dict[str, Any]]] = {
    FULL: {},
    "paths know intensities only": {"pseudo_labels": {"probability_weight": 0.0}},
    "no helping cases": {"label_fusion": {"most_atlases": 0}},
    "no intensities": {"pseudo_labels": {"em_rounds": 0}},
    "background's intensities the same everywhere": {"pseudo_labels": {"em_reach_mm": 0.0}},
    "points instead of the region": {
        "pseudo_labels": {"seed_probability": "$None", "em_rounds": 0, "probability_weight": 0.0}
    },
    "background as soon a seed as a class": {"pseudo_labels": {"background_seed_probability": "$None"}},
    "votes alone, no region carried along": {"first_round": VOTES_ALONE, "label_fusion": VOTES_ALONE},
    "region carried along by embeddings, not images": {"first_round": BY_CELLS, "label_fusion": BY_CELLS},
    "region with rough borders": {"support_mask": {"image_smoothing_voxels": 0.0, "border_smoothing_voxels": 0.0}},
    "region without limits": {"support_mask": {"reach": "$None", "opening_radius_mm": 0.0}},
    "region that leaks limited by distance alone": {"support_mask": {"leak_share": 1.0}},
    "smooth map instead of an affine one": {"first_round": SMOOTH, "label_fusion": SMOOTH},
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
    "doubted pseudo labels teach too": {"segmentation": {"least_agreed_dice": 0.0}},
    "undecided band": {"pseudo_labels": {"undecided_margin": 0.1}},
    "label correction": {"segmentation": {"use_plc": True}},
}
EPOCH_SHARE = 3  # one third
TOGETHER = "with the other supports' true label maps accepted"


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

    def keep(part: str, words: str, support: str, scores: dict[str, Any]) -> None:
        """Everything measured so far is on the page, whatever comes after."""
        result[part].setdefault(words, {"supports": {}})["supports"][support] = scores
        pages.publish(page, "ablation", result, ablation_section(result))

    for words, changes in MASKS.items():
        for support, scores in _masks(bench, words, changes):
            keep("masks", words, support, scores)
    for support, scores in _together(bench):
        keep("masks", TOGETHER, support, scores)
    for words, changes in NETWORKS.items():
        keep("networks", words, bench.dataset.support, _network(bench, words, changes))
    print(f"tables: {page}")
    return result


def _masks(
    bench: Bench, words: str, overrides: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every support, and the scores of the test volumes' one-shot masks from its first strokes, region as grown."""
    for run in first_runs(bench.dataset):
        folder = run.folder if words == FULL else f"ablation/{_slug(words)}_{run.support}"
        _start_from(bench.output / run.folder, bench.output / folder)
        yield run.support, _mask_scores(bench, bench.on_test(run, folder, overrides=overrides))


def _start_from(whole: Path, folder: Path) -> None:
    """Copy the run with everything on to a folder that is not there yet: what a change leaves alone is done already."""
    if folder.exists() or not whole.exists():
        return
    copied = folder.with_name(f".copied-{folder.name}")
    shutil.rmtree(copied, ignore_errors=True)
    shutil.copytree(whole, copied)
    copied.rename(folder)


def _together(bench: Bench) -> Iterator[tuple[str, dict[str, Any]]]:
    """As `_masks`, with every other support among the cases and its label map accepted, as a user's correction is."""
    dataset, runs = bench.dataset, first_runs(bench.dataset)
    for run in runs:
        others = [other.support for other in runs if other != run]
        folder = f"ablation/together_{run.support}"
        inputs = bench.output / folder / "input"
        images = link_images({case: dataset.image(case) for case in [*dataset.test, *others]}, inputs / "images")
        maps = link_images({case: dataset.label(case) for case in others}, inputs / "accepted")
        yield run.support, _mask_scores(bench, bench.on_images(run, images, folder, accepted=maps))


def _mask_scores(bench: Bench, pipeline: Pipeline) -> dict[str, Any]:
    """Scores of the test volumes' one-shot masks."""
    dataset = bench.dataset
    pipeline.propagate()
    return evaluate_folder(pipeline.output / "pseudo_labels", dataset.labels, dataset.classes, dataset.test)


def _network(bench: Bench, words: str, overrides: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Scores of the test volumes by a network trained on the same pseudo labels, or on those made otherwise."""
    others = {stage: keys for stage, keys in overrides.items() if stage != "segmentation"}
    folder = f"ablation/labels_{_slug(words)}" if others else "one_shot"
    pipeline = bench.on_unlabelled(folder, overrides=others)
    pipeline.propagate()
    epochs = read_component(config_names("segmentation", pipeline.settings), "max_epochs") // EPOCH_SHARE
    variant = f"ablation_{_slug(words)}"
    model = pipeline.train_segmentation(variant, {"max_epochs": epochs, **overrides.get("segmentation", {})})
    probabilities_dir = (
        bench.on_test(first_runs(bench.dataset)[0]).output / "propagation"
    )  # so that nothing is done twice
    return score_network(bench.dataset, model, pipeline.output / f"test_{variant}", bench.device, probabilities_dir)


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
        "**One-shot masks, one thing changed,** mean over the supports "
        f"{', '.join(result['masks'][FULL]['supports'])}.",
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
    """A row of fewer supports than the first has, compared with the same ones, names them."""
    whole = variants[FULL]["supports"]
    rows = []
    for words, found in variants.items():
        scores = list(found["supports"].values())
        same = [whole[support] for support in found["supports"]]
        means = [np.mean([one["classes"][name]["dice_mean"] for one in scores]) for name in classes]
        means.append(np.mean([one["mean_dice"] for one in scores]))
        named = words if len(same) == len(whole) else f"{words} ({', '.join(found['supports'])} only)"
        rows.append([named, *map(pages.number, means), "" if words == FULL else change(scores, same)])
    return pages.table(["", *classes, "mean", "change"], rows)
