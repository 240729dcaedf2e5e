"""Which of two masks a class gets: the geodesic one, or that of the highest expected Dice.

The image draws a better border than probabilities do, so the geodesic mask may cost some expected Dice. Where it costs
more it contradicts the probabilities: its seeds were too few, or none, or it leaked.
"""

from __future__ import annotations

import numpy as np

from scripts.common.affines import between_grids
from scripts.common.boxes import box_of
from scripts.common.sampling import onto_grid
from scripts.pseudo_labels.class_probabilities import ClassProbabilities, best_limit, expected_dice


def decided_by_class(
    label: np.ndarray, affine: np.ndarray, probabilities: ClassProbabilities, least_share: float
) -> np.ndarray:
    """Channels where a class whose geodesic mask fits its probabilities badly has its likely voxels instead.

    Where such a voxel is another class's, the more probable of both has it.

    Args:
        label: (X, Y, Z) uint8 channels: the geodesic masks.
        affine: (4, 4) of its grid, whose axes are parallel to the probabilities'.
        probabilities: of the case.
        least_share: a geodesic mask stays if its expected Dice is at least this share of the likely voxels'.
    """
    decided = label.copy()
    holder = np.zeros(label.shape, dtype=np.float32)  # the probability of the class that has a voxel
    to_probabilities = between_grids(affine, probabilities.affine)
    changed = {}
    for channel, coarse in enumerate(probabilities.array[1:], start=1):
        share = coarse.astype(np.float32)
        share = onto_grid(share, to_probabilities, label.shape, order=1, outside=0.0, parallel=True)
        geodesic, likely = label == channel, share >= best_limit(coarse)
        if _expected_dice(share, geodesic) >= least_share * _expected_dice(share, likely):
            holder[geodesic] = share[geodesic]
            continue
        decided[geodesic] = 0
        if (box := box_of(likely)) is not None:
            changed[channel] = box, np.where(likely[box], share[box], 0)
    for channel, (box, share) in changed.items():
        taken = share > holder[box]
        decided[box][taken] = channel
        holder[box][taken] = share[taken]
    return decided


def _expected_dice(share: np.ndarray, mask: np.ndarray) -> float:
    return expected_dice(float(share[mask].sum(dtype=np.float64)), int(mask.sum()), float(share.sum(dtype=np.float64)))
