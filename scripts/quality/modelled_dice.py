"""How good a label map is, from the class probabilities that it was made of (mode `default`).

The probabilities of label fusion say how far atlases agree and how sharp a border they can draw: a class of few voxels,
one that atlases put into different places and one that none of them is sure of all have little probability inside.
"""

from __future__ import annotations

import math

import numpy as np

from scripts.common.overlap import best_mask, expected_dice


def modelled_dice(mask: np.ndarray, probability: np.ndarray) -> float:
    """Dice of a bool mask with the unknown truth, if the probabilities are all that is known.

    A mask and a probability map that err independently agree by the product of their qualities (one-factor model). The
    best mask is as good as the map, so that this has the root of what the best mask can have; any other mask has what
    it agrees by, divided by that.
    """
    best = best_mask(probability).dice
    return min(1.0, expected_dice(mask, probability) / math.sqrt(best)) if best else 0.0
