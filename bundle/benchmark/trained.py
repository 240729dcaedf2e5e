"""Segmentation networks for a benchmark: one-shot, and the fully supervised bound with the same network and recipe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bundle.dataset import Dataset
from bundle.inference import infer_folder
from bundle.pipeline import Pipeline, RunSettings, link_images
from scripts.evaluation import evaluate_folder
from scripts.files import write_json, write_nifti
from scripts.volume_io import read_labels

VARIANTS: dict[str, dict[str, Any]] = {"without_plc": {"use_plc": False}, "with_plc": {"use_plc": True}}


def one_shot_networks(dataset: Dataset, settings: RunSettings) -> dict[str, Any]:
    """Scores of the unlabelled cases' pseudo labels, and of the test cases by networks trained on those.

    Args:
        dataset: with labels to score by.
        settings: of a run on the unlabelled cases; its weights locate points.
    """
    pipeline = Pipeline(settings)
    pipeline.propagate()
    support = pipeline.cohort.support
    others = [case for case in dataset.unlabelled if case != support]
    scores = {
        "pseudo_labels": evaluate_folder(pipeline.output / "pseudo_labels", dataset.labels, dataset.classes, others)
    }
    for variant, changes in VARIANTS.items():
        model = pipeline.train_segmentation(variant, changes)
        scores[f"trained_{variant}"] = score_network(
            dataset, model, pipeline.output / f"test_{variant}", settings.device
        )
    return scores | {"stages": pipeline.directory.state()}


def supervised_network(dataset: Dataset, settings: RunSettings) -> dict[str, Any]:
    """Scores of the test cases by the same network, trained likewise on the true labels of the unlabelled cases."""
    pipeline = Pipeline(settings)
    write_true_labels(dataset, pipeline.cohort.classes, pipeline.output / "pseudo_labels")
    model = pipeline.train_segmentation("supervised", {"use_plc": False})
    scores = score_network(dataset, model, pipeline.output / "test_supervised", settings.device)
    return {"trained": scores, "stages": pipeline.directory.state()}


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
