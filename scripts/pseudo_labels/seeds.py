"""Seeds of geodesic labels: kept points, or where one class is beyond doubt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from scripts.common.label_channels import LabelChannels
from scripts.data.records import PointSet
from scripts.data.scribbles import draw_points


def seeds_from_points(
    points: PointSet, classes: Mapping[str, int], affine: np.ndarray, shape: Sequence[int]
) -> np.ndarray:
    """(1 + K, X, Y, Z) bool: a voxel for each kept point, the nearest to it.

    A voxel with points of several classes goes to that of the highest score; background erases nothing.

    Args:
        points: in the case's world; a kept one's label is 0 or a value of `classes`.
        classes: name -> label value.
        affine: (4, 4) of the grid.
        shape: of the grid.
    """
    channel_of = LabelChannels(classes).channel_of()
    kept = points.chosen(points.kept)
    channels = np.array([channel_of[label] for label in kept.labels.tolist()], dtype=int)
    order = np.where(channels == 0, -np.inf, kept.scores)
    x, y, z = shape
    drawn = draw_points(kept.located_mm, channels + 1, order, affine, (x, y, z))
    return np.stack([drawn == channel for channel in range(1, len(channel_of) + 1)])


def seeds_from_probabilities(
    probabilities: np.ndarray, confident: float, background_confident: float | None = None
) -> np.ndarray:
    """(1 + K, X, Y, Z) bool: where a class's probability exceeds `confident`.

    Args:
        probabilities: (1 + K, X, Y, Z), background first.
        confident: above one half.
        background_confident: the same for background; None takes `confident`.

    Raises:
        ValueError: a limit is not above one half, so that a voxel could be a seed of two classes.
    """
    background = confident if background_confident is None else background_confident
    if not min(confident, background) > 0.5:
        raise ValueError(f"seeds need probabilities above one half, got {confident} and {background} for background")
    limits = np.array([background, *[confident] * (len(probabilities) - 1)], dtype=np.float32)
    return probabilities > limits[:, None, None, None]


def completed_seeds(seeds: np.ndarray, from_points: np.ndarray) -> np.ndarray:
    """The seeds, where a class without any has its points' seeds instead, as far as they are no other class's.

    Args:
        seeds: (1 + K, X, Y, Z) bool.
        from_points: the same of points.
    """
    missing = ~seeds.any(axis=(1, 2, 3))
    if not missing.any():
        return seeds
    completed = seeds.copy()
    completed[missing] = from_points[missing] & ~seeds.any(axis=0)
    return completed


def seeds_in_body(seeds: np.ndarray, body: np.ndarray) -> np.ndarray:
    """The seeds, where everything outside the body is a seed of background and of nothing else.

    Args:
        seeds: (1 + K, X, Y, Z) bool, background first.
        body: (X, Y, Z) bool.
    """
    within = seeds & body
    within[0] = seeds[0] | ~body
    return within
