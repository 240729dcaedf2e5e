"""Segmentation networks for a benchmark: one-shot, and the fully supervised bound with the same network and recipe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bundle.benchmark.measure.stage_calls import choose_label_maps, grow_label_maps, join_network, work_folder
from bundle.benchmark.measure.trust import check_trust
from bundle.benchmark.results import ENSEMBLE, ONE_SHOT, SUPERVISED
from bundle.datasets.dataset import Dataset
from bundle.datasets.links import link_images
from bundle.pipeline.inference import infer_folder
from bundle.pipeline.pipeline import Pipeline
from scripts.common.files import read_json, write_json, write_nifti
from scripts.common.label_channels import LabelChannels
from scripts.common.masks.largest_parts import count_of_parts
from scripts.common.work_folder import LabelFolder
from scripts.data.records import PseudoLabelRecord
from scripts.data.volume_io import read_labels
from scripts.quality.evaluation import Evaluation, evaluate_folder


def pseudo_label_scores(dataset: Dataset, pipeline: Pipeline) -> Evaluation:
    """Scores of the pseudo labels that the network learns from, the support's left out.

    Args:
        dataset: with labels to score by.
        pipeline: on the unlabelled cases, with weights that locate points.
    """
    pipeline.propagate()
    others = [case for case in dataset.unlabelled if case != pipeline.cohort.support]
    return evaluate_folder(pipeline.training_labels(), dataset.labels, dataset.classes, others)


def one_shot_network(
    dataset: Dataset,
    pipeline: Pipeline,
    raters: Pipeline,
    variant: str = ONE_SHOT,
    changes: Mapping[str, Any] | None = None,
) -> dict[str, dict[str, Any]]:
    """A network trained on the pipeline's pseudo labels: scores of the test cases, and how far they are foreseen.

    Args:
        dataset: with labels to score by.
        pipeline: on the unlabelled cases.
        raters: on the test cases, propagated: the atlases' class probabilities, and what the self-check compares with.
        variant: name of the training.
        changes: config key -> value of it.

    Returns:
        "one_shot": the network's own label maps; "ensemble": those grown from the atlases' and the network's class
        probabilities together; each {"scores", "trust"}.
    """
    model = pipeline.train_segmentation(variant, changes)
    network = LabelFolder(pipeline.output / f"test_{variant}")
    ensemble = LabelFolder(pipeline.output / f"test_{variant}_{ENSEMBLE}")
    scores = score_network(dataset, model, network.path, pipeline.settings.device, keep_probabilities=True)
    grow_ensemble(raters, network, ensemble, dataset.test)
    ensemble_scores = evaluate_folder(ensemble.path, dataset.labels, dataset.classes, dataset.test)
    return {
        ONE_SHOT: {"scores": scores, "trust": check_trust(raters, network, scores, network)},
        ENSEMBLE: {"scores": ensemble_scores, "trust": check_trust(raters, ensemble, ensemble_scores, network)},
    }


def grow_ensemble(pipeline: Pipeline, network: LabelFolder, ensemble: LabelFolder, cases: tuple[str, ...]) -> None:
    """Label maps from the class probabilities that a network left beside its own ones, joined with the atlases'; a
    class that is then trusted less than in the pseudo label stays as it is there."""
    join_network(pipeline, network, cases)
    grow_label_maps(pipeline, network.joined, network.joined_labels, cases)
    choose_label_maps(pipeline, network.joined_labels, ensemble, cases)


def supervised_network(
    dataset: Dataset, pipeline: Pipeline, variant: str = SUPERVISED, changes: Mapping[str, Any] | None = None
) -> Evaluation:
    """Scores of the test cases by the same network, trained likewise on the true labels of the unlabelled cases.

    A class may be in as many parts as in the support's true label map.
    """
    labels, classes = work_folder(pipeline).pseudo_labels, pipeline.cohort.classes
    write_true_labels(dataset, classes, labels)
    parts = parts_in(read_labels(labels.label(dataset.support)).array, classes)
    model = pipeline.train_segmentation(variant, {"parts": parts} | dict(changes or {}), labels_dir=labels.path)
    return score_network(dataset, model, pipeline.output / f"test_{variant}", pipeline.settings.device)


def parts_in(label: np.ndarray, classes: Mapping[str, int]) -> dict[str, int]:
    """Class -> how many parts it is in, of those in more than one: see `count_of_parts`.

    Args:
        label: (X, Y, Z) label values.
        classes: name -> label value.
    """
    return count_of_parts(LabelChannels(classes).to_channels(label), classes)


def score_network(
    dataset: Dataset, model: Path, predictions: Path, device: str | None, keep_probabilities: bool = False
) -> Evaluation:
    """Predict the test cases and score them on the full original grid; `keep_probabilities` as for `infer_folder`."""
    images = link_images({case: dataset.image(case) for case in dataset.test}, predictions.parent / "test_images")
    infer_folder(images, model, predictions, device, keep_probabilities)
    return evaluate_folder(predictions, dataset.labels, dataset.classes, dataset.test)


def write_true_labels(dataset: Dataset, classes: Mapping[str, int], folder: LabelFolder) -> None:
    """The unlabelled cases' true labels in the form of pseudo labels."""
    for case in dataset.unlabelled:
        record = folder.record(case)
        if record.exists() and read_json(record)["classes"] == dict(classes):
            continue
        label = read_labels(dataset.label(case))
        kept = np.where(np.isin(label.array, list(classes.values())), label.array, 0).astype(np.uint8)
        write_nifti(folder.label(case), kept, label.affine)
        write_json(record, PseudoLabelRecord(case, dict(classes), given=True).to_json())
