"""Class probabilities of a case, and the Dice to expect of a mask by them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ClassProbabilities:
    """Class probabilities (1 + K, X, Y, Z), background first, and their (4, 4) affine, canonical."""

    array: np.ndarray
    affine: np.ndarray


def expected_dice(probability_inside: float, voxels: int, volume: float) -> float:
    """Of a mask against a mask whose voxels are drawn by their probabilities; 0 where nothing is expected.

    Twice the expected intersection, divided by the sum of both expected volumes.

    Args:
        probability_inside: the sum over the mask's voxels.
        voxels: of the mask.
        volume: the sum over all voxels: the expected volume.
    """
    return 2 * probability_inside / (voxels + volume) if volume > 0 else 0.0


def best_limit(probabilities: np.ndarray) -> float:
    """A class's voxels from this probability on have the highest expected Dice. It is half that Dice.

    So it is near one half for a sharp organ, and lower for one that is smaller than the blur of its probabilities: that
    one nowhere reaches one half, and a fixed limit loses it.

    Args:
        probabilities: (X, Y, Z) of the class; without any, the limit is 1.
    """
    falling = np.sort(probabilities[probabilities > 0].astype(np.float64))[::-1]
    if not len(falling):
        return 1.0
    dice = 2 * np.cumsum(falling) / (np.arange(1, len(falling) + 1) + falling.sum())
    return float(falling[dice.argmax()])
