"""Segmentation networks for a benchmark: one-shot, and the fully supervised bound with the same network and recipe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bundle.benchmark.trust import check_trust
from bundle.dataset import Dataset
from bundle.inference import infer_folder
from bundle.pipeline import Pipeline, link_images
from scripts.evaluation import evaluate_folder
from scripts.files import write_json, write_nifti
from scripts.volume_io import read_labels


def pseudo_label_scores(dataset: Dataset, pipeline: Pipeline) -> dict[str, Any]:
    """Scores of the unlabelled cases' pseudo labels, the support's left out.

    Args:
        dataset: with labels to score by.
        pipeline: on the unlabelled cases, with weights that locate points.
    """
    pipeline.propagate()
    others = [case for case in dataset.unlabelled if case != pipeline.cohort.support]
    return evaluate_folder(pipeline.output / "pseudo_labels", dataset.labels, dataset.classes, others)


def one_shot_network(dataset: Dataset, pipeline: Pipeline, use_plc: bool, witnesses: Pipeline) -> dict[str, Any]:
    """Scores of the test cases by a network trained on the pipeline's pseudo labels, and how far they are foreseen.

    Args:
        dataset: with labels to score by.
        pipeline: on the unlabelled cases.
        use_plc: correct the labels while training.
        witnesses: on the test cases, propagated: what the self-check compares with.
    """
    variant = "with_plc" if use_plc else "without_plc"
    model = pipeline.train_segmentation(variant, {"use_plc": use_plc})
    predictions = pipeline.output / f"test_{variant}"
    scores = score_network(dataset, model, predictions, pipeline.settings.device)
    return scores | {"trust": check_trust(witnesses, predictions, scores)}


def supervised_network(dataset: Dataset, pipeline: Pipeline) -> dict[str, Any]:
    """Scores of the test cases by the same network, trained likewise on the true labels of the unlabelled cases."""
    write_true_labels(dataset, pipeline.cohort.classes, pipeline.output / "pseudo_labels")
    model = pipeline.train_segmentation("supervised", {"use_plc": False})
    return score_network(dataset, model, pipeline.output / "test_supervised", pipeline.settings.device)


def score_network(dataset: Dataset, model: Path, predictions: Path, device: str | None) -> dict[str, Any]:
    """Predict the test cases and score them on the full original grid."""
    images = link_images({case: dataset.image(case) for case in dataset.test}, predictions.parent / "test_images")
    infer_folder(images, model, predictions, device)
    return evaluate_folder(predictions, dataset.labels, dataset.classes, dataset.test)


def write_true_labels(dataset: Dataset, classes: Mapping[str, int], folder: Path) -> None:
    """The unlabelled cases' true labels in the form of pseudo labels."""
    for case in dataset.unlabelled:
        if (folder / f"{case}.json").exists():
            continue
        label = read_labels(dataset.labels / f"{case}.nii.gz")
        kept = np.where(np.isin(label.array, list(classes.values())), label.array, 0).astype(np.uint8)
        write_nifti(folder / f"{case}.nii.gz", kept, label.affine)
        write_json(folder / f"{case}.json", {"case": case, "classes": dict(classes), "not_located": []})
