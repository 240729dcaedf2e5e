"""Label fusion's core: the predictions of all atlases for one case become one (mode `default`).

Multi-atlas label fusion, weighted by how like each atlas's body is to the case's. A body unlike the support's is often
like another case's, and two short steps go wrong less than one long one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from scripts.common.label_channels import LabelChannels
from scripts.common.overlap import likely_classes
from scripts.data.records import DIGITS, PointSet
from scripts.embedding.dense_embedding import WindowSettings
from scripts.label_propagation.label_transfer import TransferSettings
from scripts.label_propagation.point_check import check_points
from scripts.registration.embedding_matching import MatchingSettings


@dataclass(frozen=True)
class FusionSettings:
    """Which cases are atlases, and how their predictions become one.

    Attributes:
        windows, matching, transfer: see each part.
        most_atlases: largest number of cases that are atlases beside the support.
        least_round_trip_dice: a case is an atlas of the classes whose round-trip Dice is at least so high.
        fusion_temperature: an atlas's weight is the softmax of its body's similarity to the case's, at this
            temperature.
        least_point_probability: a point is kept where the probability of its class is above. It exceeds
            `transfer.warped_share`, so that the cells, too, must speak for it.
        point_reach_mm: how far a point may be moved to such a place, in mm.
    """

    windows: WindowSettings = field(default_factory=WindowSettings)
    matching: MatchingSettings = field(default_factory=MatchingSettings)
    transfer: TransferSettings = field(default_factory=TransferSettings)
    most_atlases: int = 4
    least_round_trip_dice: float = 0.5
    fusion_temperature: float = 0.1
    least_point_probability: float = 0.9
    point_reach_mm: float = 24.0


@dataclass(frozen=True)
class AtlasPrediction:
    """What one atlas predicts of a case, and how far it is to be trusted.

    Attributes:
        probabilities: (1 + K, X, Y, Z) class probabilities on the working grid, background first.
        similarity: of the atlas's body to the case's.
        round_trip_dice: class -> round-trip Dice of the atlas's labels; the classes that it is an atlas of, and no
            other.
    """

    probabilities: np.ndarray
    similarity: float
    round_trip_dice: Mapping[str, float]


@dataclass(frozen=True)
class FusedCase:
    """What all atlases together say about a case.

    Attributes:
        probabilities: (1 + K, X, Y, Z) class probabilities on the working grid, background first.
        weights: atlas -> class -> weight.
        atlas_labels: (X, Y, Z, atlases) uint8 label values, what each atlas alone predicts, in the order of `weights`.
        points: as the probabilities judge them.
        mean_round_trip_dice: class -> mean over the atlases by weight.
    """

    probabilities: np.ndarray
    weights: Mapping[str, Mapping[str, float]]
    atlas_labels: np.ndarray
    points: PointSet
    mean_round_trip_dice: Mapping[str, float]


def fuse_case(
    predictions: Mapping[str, AtlasPrediction],
    classes: Mapping[str, int],
    points: PointSet,
    affine: np.ndarray,
    settings: FusionSettings,
) -> FusedCase:
    """Fuse what atlases predict of a case, and judge its points by the result.

    Args:
        predictions: atlas -> prediction, at least one.
        classes: name -> label value, in the order of the channels.
        points: located in the case.
        affine: (4, 4) of the working grid.
        settings: see `FusionSettings`.
    """
    channels = LabelChannels(classes)
    fused, weights = fuse_labels(predictions, list(classes), settings.fusion_temperature)
    alone = [channels.to_values(likely_classes(prediction.probabilities)) for prediction in predictions.values()]
    reach_mm = settings.point_reach_mm
    judged = check_points(points, fused, channels, affine, settings.least_point_probability, reach_mm)
    dice = {name: _mean_round_trip_dice(name, predictions, weights) for name in classes}
    return FusedCase(fused, weights, np.stack(alone, axis=-1), judged, dice)


def fuse_labels(
    predictions: Mapping[str, AtlasPrediction], names: list[str], temperature: float
) -> tuple[np.ndarray, dict[str, dict[str, float]]]:
    """(1 + K, X, Y, Z) fused class probabilities, and atlas -> class -> its weight, to four digits.

    A class's probability is the mean over its atlases, weighted by the softmax of their bodies' similarity; a class
    without an atlas has none. The background is what remains; where classes claim more than all, each gets its share.

    Args:
        predictions: atlas -> prediction, at least one.
        names: of the K classes in the order of the channels.
        temperature: of the softmax.
    """
    weights: dict[str, dict[str, float]] = {atlas: {} for atlas in predictions}
    fused = np.zeros_like(next(iter(predictions.values())).probabilities)
    for channel, name in enumerate(names, start=1):
        atlases = [atlas for atlas, prediction in predictions.items() if name in prediction.round_trip_dice]
        similarities = torch.tensor([predictions[atlas].similarity for atlas in atlases], dtype=torch.float64)
        for atlas, share in zip(atlases, torch.softmax(similarities / temperature, dim=0).tolist(), strict=True):
            weights[atlas][name] = round(share, DIGITS)
            fused[channel] += share * predictions[atlas].probabilities[channel]
    claimed = fused[1:].sum(axis=0)
    fused[1:] /= np.maximum(claimed, 1)
    fused[0] = np.maximum(1 - claimed, 0)
    return fused, weights


def _mean_round_trip_dice(
    name: str, predictions: Mapping[str, AtlasPrediction], weights: Mapping[str, Mapping[str, float]]
) -> float:
    """Of a class, by weight; 0 without an atlas."""
    shares = {atlas: of_classes[name] for atlas, of_classes in weights.items() if name in of_classes}
    return sum(share * predictions[atlas].round_trip_dice[name] for atlas, share in shares.items())
