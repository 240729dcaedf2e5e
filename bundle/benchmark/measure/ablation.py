"""Mode `default` with one lever switched off at a time: masks of the test volumes, then trained networks."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bundle.benchmark.measure.runs import Bench, Overrides, first_runs
from bundle.benchmark.measure.stage_calls import component, work_folder
from bundle.benchmark.measure.trained import score_network
from bundle.benchmark.results import EVERYTHING, ONE_SHOT, result_line
from bundle.config_values import Expression
from bundle.datasets.links import link_images
from bundle.pipeline.pipeline import Pipeline
from scripts.quality.evaluation import Evaluation, evaluate_folder

NOTHING = Expression("$None")  # where data must be of the kind that they replace
TRANSFER_ALONE = {"warped_share": 0.0}
NO_THIN = {"registration_fine_steps": 0}
BY_CELLS = {"registration_half_steps": 0, "registration_steps": 0, "registration_fine_steps": 0}
# What is switched off, or on, or else -> stage -> config keys.
MASKS: dict[str, Overrides] = {
    EVERYTHING: {},
    "geodesic paths know intensities only": {"pseudo_labels": {"probability_weight": 0.0}},
    "no selected atlases": {"label_fusion": {"most_atlases": 0}},
    "no EM posterior": {"pseudo_labels": {"settings#em": NOTHING}},
    "EM posterior, background the same everywhere": {"pseudo_labels": {"em_reach_mm": 0.0}},
    "points instead of class probabilities": {
        "pseudo_labels": {"seed_probability": NOTHING, "probability_weight": 0.0, "settings#em": NOTHING}
    },
    "background as soon a seed as a class": {"pseudo_labels": {"background_seed_probability": NOTHING}},
    "geodesic masks whatever Dice is expected": {"pseudo_labels": {"least_expected_share": 0.0}},
    "label transfer alone, no warped mask": {"first_round": TRANSFER_ALONE, "label_fusion": TRANSFER_ALONE},
    "thin organs do not move by themselves": {"first_round": NO_THIN, "label_fusion": NO_THIN},
    "mask warped by embeddings, not images": {"first_round": BY_CELLS, "label_fusion": BY_CELLS},
    "support mask with rough borders": {
        "support_mask": {"image_smoothing_voxels": 0.0, "border_smoothing_voxels": 0.0}
    },
    "support mask without growth limits": {"support_mask": {"settings#growth": NOTHING, "opening_radius_mm": 0.0}},
    "leaking support mask limited by distance alone": {"support_mask": {"leak_share": 1.0}},
}
# What is changed -> stage -> config keys. Each of these trainings takes a share of the epochs.
NETWORKS: dict[str, Overrides] = {
    EVERYTHING: {},
    "starts afresh": {"segmentation": {"start_from": None}},
    "classes not balanced": {"segmentation": {"class_balance": 0.0, "class_balance_end": 0.0}},
    "last weights, not their average": {"segmentation": {"average_decay": 0.0}},
    "little augmentation": {
        "segmentation": {"zoom": 0.15, "rotation_rad": 0.2, "gain": 0.1, "noise": 0.03, "gamma": [1.0, 1.0]}
    },
    "distrusted pseudo labels teach too": {"segmentation": {"least_agreed_dice": 0.0}},
    "label correction": {"segmentation": {"use_plc": True}},
}
EPOCH_SHARE = 3  # one third
TOGETHER = "with the other supports' true label maps accepted"


def measure(
    bench: Bench,
    masks: Mapping[str, Overrides] = MASKS,
    networks: Mapping[str, Overrides] = NETWORKS,
    epoch_share: int = EPOCH_SHARE,
) -> Iterator[dict[str, Any]]:
    """Run every variant (again: continue); the lines of the raw results, each as soon as it is measured.

    Works in the output folder of `benchmark default`, whose networks and results it uses.

    Args:
        bench: see `open_bench`.
        masks: variant -> overrides of the runs on the test volumes.
        networks: variant -> overrides of the training.
        epoch_share: each network takes the configured epochs divided by this.
    """
    bench.train()
    yield bench.head(epoch_share=epoch_share)
    for variant, overrides in masks.items():
        yield from _masks(bench, variant, overrides)
    yield from _together(bench)
    for variant, overrides in networks.items():
        scores = _network(bench, variant, overrides, epoch_share)
        yield _line("network", variant, bench.dataset.support, scores)


def _line(what: str, variant: str, support: str, scores: Evaluation) -> dict[str, Any]:
    return result_line(what, f"{variant}, {support}", variant=variant, support=support, scores=scores)


def _masks(bench: Bench, variant: str, overrides: Overrides) -> Iterator[dict[str, Any]]:
    """From every support's first strokes, its mask as grown, the test volumes' one-shot masks."""
    for run in first_runs(bench.dataset):
        folder = run.folder if variant == EVERYTHING else f"ablation/{slug(variant)}_{run.support}"
        start_from(bench.output / run.folder, bench.output / folder)
        pipeline = bench.on_test(run, folder, overrides=overrides)
        yield _line("masks", variant, run.support, _mask_scores(bench, pipeline))


def start_from(whole: Path, folder: Path) -> None:
    """Copy the run with everything on to a folder that is not there yet: what a change leaves alone is done already."""
    if folder.exists() or not whole.exists():
        return
    copied = folder.with_name(f".copied-{folder.name}")
    shutil.rmtree(copied, ignore_errors=True)
    shutil.copytree(whole, copied)
    copied.rename(folder)


def _together(bench: Bench) -> Iterator[dict[str, Any]]:
    """As `_masks`, with every other support among the cases and its label map accepted, as a user's correction is."""
    dataset, runs = bench.dataset, first_runs(bench.dataset)
    for run in runs:
        others = [other.support for other in runs if other != run]
        folder = f"ablation/together_{run.support}"
        inputs = bench.output / folder / "input"
        images = link_images({case: dataset.image(case) for case in [*dataset.test, *others]}, inputs / "images")
        maps = link_images({case: dataset.label(case) for case in others}, inputs / "accepted")
        pipeline = bench.on_images(run, images, folder, accepted=maps)
        yield _line("masks", TOGETHER, run.support, _mask_scores(bench, pipeline))


def _mask_scores(bench: Bench, pipeline: Pipeline) -> Evaluation:
    """Scores of the test volumes' one-shot masks."""
    dataset = bench.dataset
    pipeline.propagate()
    return evaluate_folder(work_folder(pipeline).pseudo_labels.path, dataset.labels, dataset.classes, dataset.test)


def _network(bench: Bench, variant: str, overrides: Overrides, epoch_share: int) -> Evaluation:
    """Scores of the test volumes by a network trained on the same pseudo labels, or on those made otherwise."""
    others = {stage: keys for stage, keys in overrides.items() if stage != "segmentation"}
    folder = f"ablation/labels_{slug(variant)}" if others else ONE_SHOT
    pipeline = bench.on_unlabelled(folder, overrides=others)
    pipeline.propagate()
    epochs = component(pipeline.settings, "segmentation", "max_epochs") // epoch_share
    training = f"ablation_{slug(variant)}"
    model = pipeline.train_segmentation(training, {"max_epochs": epochs, **overrides.get("segmentation", {})})
    return score_network(bench.dataset, model, pipeline.output / f"test_{training}", bench.device)


def slug(variant: str) -> str:
    """A folder name."""
    return variant.replace(",", "").replace(" ", "_")
