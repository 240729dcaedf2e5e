"""How good a label map is, from the class probabilities that it was made of (mode `default`).

The probabilities of label fusion say how far atlases agree and how sharp a border they can draw: a class of few voxels,
one that atlases put into different places and one that none of them is sure of all have little probability inside.
"""

from __future__ import annotations

import math

import numpy as np


def expected_dice(mask: np.ndarray, probability: np.ndarray) -> float:
    """Dice of a bool mask and a probability map on one grid: 2 * inside / (mask + map); 0 where both are empty."""
    total = float(mask.sum()) + float(probability.sum(dtype=np.float64))
    return 2 * float(probability[mask].sum(dtype=np.float64)) / total if total else 0.0


def best_expected_dice(probability: np.ndarray) -> float:
    """The most that any mask can have: it holds the voxels above some threshold. 0 without any probability."""
    descending = np.sort(probability[probability > 0].astype(np.float64))[::-1]
    if not len(descending):
        return 0.0
    inside, voxels = np.cumsum(descending), np.arange(1, len(descending) + 1)
    return float((2 * inside / (voxels + inside[-1])).max())


def modelled_dice(mask: np.ndarray, probability: np.ndarray) -> float:
    """Dice of a bool mask with the unknown truth, if the probabilities are all that is known.

    A mask and a probability map that err independently agree by the product of their qualities (one-factor model). The
    best mask is as good as the map, so that this has the root of what the best mask can have; any other mask has what
    it agrees by, divided by that.
    """
    best = best_expected_dice(probability)
    return min(1.0, expected_dice(mask, probability) / math.sqrt(best)) if best else 0.0
