"""Train it on a cohort's unlabelled volumes and one label map; segment a volume with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import SimpleITK as sitk
import torch
from monai.inferers import sliding_window_inference

from bundle.benchmark.rivals.data_aug.frame import Frame
from bundle.benchmark.rivals.data_aug.training import Recipe, learn_changes, learn_to_segment, segmentation_network
from scripts.networks.loading import load_by_card, read_card
from scripts.networks.model_files import write_model

WEIGHTS = "DataAug weights"  # for messages
OVERLAP = 0.5


def train(support: Path, label: Path, unlabelled: Sequence[Path], folder: Path, recipe: Recipe | None = None) -> None:
    """Write the segmentation network's weights and card; about an hour on one core.

    Args:
        support: the labelled volume.
        label: its label map.
        unlabelled: volumes without labels.
        folder: where both files go.
        recipe: None for the usual one.
    """
    recipe = recipe or Recipe()
    frame = Frame.of(_volume(support), recipe.spacing_mm)
    image, labels = frame.image(), frame.labels(sitk.ReadImage(str(label)))
    others = [frame.brought_here(_volume(file))[0] for file in unlabelled]
    network = learn_to_segment(image, labels, learn_changes(image, labels, others, recipe), recipe)
    write_model(folder, network, {"labels": int(labels.max()) + 1, **asdict(recipe)})


def segment(query: Path, support: Path, folder: Path) -> sitk.Image:
    """A volume's label map, on its own grid.

    Args:
        query: the volume.
        support: the labelled volume, whose grid the network knows.
        folder: where `train` wrote.
    """
    card = read_card(folder, WEIGHTS, {})
    network = load_by_card(folder, WEIGHTS, card, lambda card: segmentation_network(card["labels"]), "cpu")
    volume, frame = _volume(query), Frame.of(_volume(support), card["spacing_mm"])
    image, found = frame.brought_here(volume)
    window = (card["window"],) * 3
    with torch.no_grad():
        scores = sliding_window_inference(image[None, None], window, 1, network, OVERLAP, "gaussian")
    return frame.sent_back(torch.as_tensor(scores)[0].softmax(0), found, volume)


def _volume(file: Path) -> sitk.Image:
    return sitk.ReadImage(str(file), sitk.sitkFloat32)
