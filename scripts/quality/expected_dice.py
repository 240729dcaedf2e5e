"""How good a label map is, from the class probabilities that it was made of (mode `default`).

The probabilities of label fusion say how far atlases agree and how sharp a border they can draw: a class of few voxels,
one that atlases put into different places and one that none of them is sure of all have little probability inside.
"""

from __future__ import annotations

import math

import numpy as np


def expected_dice(mask: np.ndarray, probability: np.ndarray) -> float:
    """Dice of a bool mask and a probability map on one grid: 2 * inside / (mask + map); 0 where both are empty."""
    total = float(mask.sum()) + float(probability.sum())
    return 2 * float(probability[mask].sum()) / total if total else 0.0


def model_quality(expected: float) -> float:
    """Dice of the mask with the unknown truth: the mask and the probabilities are two raters that err independently and
    are equally good, and such two agree by the product of their qualities."""
    return math.sqrt(expected)
