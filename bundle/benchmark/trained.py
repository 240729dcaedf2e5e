"""Segmentation networks for a benchmark: one-shot, and the fully supervised bound with the same network and recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bundle.benchmark.trust import check_trust
from bundle.datasets.dataset import Dataset
from bundle.datasets.links import link_images
from bundle.pipeline.configs import read_component
from bundle.pipeline.inference import infer_folder
from bundle.pipeline.pipeline import Pipeline
from bundle.pipeline.stages import config_names
from scripts.common.files import read_json, write_json, write_nifti
from scripts.data.volume_io import read_labels
from scripts.pseudo_labels.labeller import PseudoLabeller
from scripts.quality.evaluation import evaluate_folder

ONE_SHOT = "one_shot"  # the training on pseudo labels
SUPERVISED = "supervised"


def pseudo_label_scores(dataset: Dataset, pipeline: Pipeline) -> dict[str, Any]:
    """Scores of the pseudo labels that the network learns from, the support's left out.

    Args:
        dataset: with labels to score by.
        pipeline: on the unlabelled cases, with weights that locate points.
    """
    pipeline.propagate()
    others = [case for case in dataset.unlabelled if case != pipeline.cohort.support]
    learnt_from = pipeline.localisation.training_labels(pipeline)
    return evaluate_folder(learnt_from, dataset.labels, dataset.classes, others)


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
        raters: on the test cases, propagated: their votes, and what the self-check compares with.
        variant: name of the training.
        changes: config key -> value of it.

    Returns:
        "one_shot": its own label maps; "one_shot_joined": those grown from the votes and the network together.
    """
    model = pipeline.train_segmentation(variant, changes)
    network = pipeline.output / f"test_{variant}"
    joined = network.with_name(f"{network.name}_joined")
    scores = score_network(dataset, model, network, pipeline.settings.device, raters.output / "propagation")
    grow_joined(raters, network, joined, dataset.test)
    joined_scores = evaluate_folder(joined, dataset.labels, dataset.classes, dataset.test)
    return {
        ONE_SHOT: scores | {"trust": check_trust(raters, network, scores, network)},
        f"{ONE_SHOT}_joined": joined_scores | {"trust": check_trust(raters, joined, joined_scores, network)},
    }


def grow_joined(pipeline: Pipeline, network: Path, joined: Path, cases: Sequence[str]) -> None:
    """Label maps in the folder `joined` from what a network wrote into the folder `network` beside the votes."""
    settings = read_component(config_names("pseudo_labels", pipeline.settings), "settings")
    PseudoLabeller(pipeline.cohort, network, settings, labels_dir=joined).run(cases)


def supervised_network(
    dataset: Dataset, pipeline: Pipeline, variant: str = SUPERVISED, changes: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Scores of the test cases by the same network, trained likewise on the true labels of the unlabelled cases."""
    labels = pipeline.output / "pseudo_labels"
    write_true_labels(dataset, pipeline.cohort.classes, labels)
    model = pipeline.train_segmentation(variant, changes, labels_dir=labels)
    return score_network(dataset, model, pipeline.output / f"test_{variant}", pipeline.settings.device)


def score_network(
    dataset: Dataset, model: Path, predictions: Path, device: str | None, probabilities_dir: Path | None = None
) -> dict[str, Any]:
    """Predict the test cases and score them on the full original grid; `probabilities_dir` as for `infer_folder`."""
    images = link_images({case: dataset.image(case) for case in dataset.test}, predictions.parent / "test_images")
    infer_folder(images, model, predictions, device, probabilities_dir)
    return evaluate_folder(predictions, dataset.labels, dataset.classes, dataset.test)


def write_true_labels(dataset: Dataset, classes: Mapping[str, int], folder: Path) -> None:
    """The unlabelled cases' true labels in the form of pseudo labels."""
    for case in dataset.unlabelled:
        record = folder / f"{case}.json"
        if record.exists() and read_json(record)["classes"] == dict(classes):
            continue
        label = read_labels(dataset.label(case))
        kept = np.where(np.isin(label.array, list(classes.values())), label.array, 0).astype(np.uint8)
        write_nifti(folder / f"{case}.nii.gz", kept, label.affine)
        write_json(record, {"case": case, "classes": dict(classes), "not_located": []})
