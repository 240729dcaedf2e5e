"""Overlap of two masks, and of a mask with one that is known by the probability of its voxels alone."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np


class BestMask(NamedTuple):
    """The mask that has the highest expected Dice with a probability map.

    Attributes:
        limit: it holds the voxels from this probability on; 1 without any probability. It is half the Dice: near one
            half for a sharp organ, lower for one that is smaller than the blur of its probabilities.
        dice: its expected Dice; 0 without any probability.
    """

    limit: float
    dice: float


def dice_of(first: np.ndarray, second: np.ndarray, of_nothing: float = 1.0) -> float:
    """Dice of two bool masks of one shape; `of_nothing` where both are empty: 0 where nothing is no evidence."""
    total = int(first.sum()) + int(second.sum())
    return 2 * int((first & second).sum()) / total if total else of_nothing


def dice_of_share(share: float) -> float:
    """Dice of a mask that holds this share of another one and nothing else."""
    return 2 * share / (1 + share)


def joined_dice(first: float, second: float) -> float:
    """Dice of the two ends of a chain of two steps, from the Dice of each, if their errors are independent.

    What a Dice lacks to 1 is about the mean displacement of the border over the organ's size; independent displacements
    add up in squares. Where both are so bad that this would be less, the product: what either step left is right.
    """
    return max(first * second, 1 - math.hypot(1 - first, 1 - second))


def expected_dice(mask: np.ndarray, probability: np.ndarray) -> float:
    """Dice of a bool mask and a probability map on one grid: 2 * inside / (mask + map); 0 where both are empty.

    Twice the intersection that is expected of a mask whose voxels are drawn by these probabilities, divided by the sum
    of both volumes.
    """
    total = float(mask.sum()) + float(probability.sum(dtype=np.float64))
    return 2 * float(probability[mask].sum(dtype=np.float64)) / total if total else 0.0


def best_mask(probability: np.ndarray) -> BestMask:
    """Of all masks that any threshold on a map of probabilities gives, the one with the highest expected Dice."""
    falling = np.sort(probability[probability > 0].astype(np.float64))[::-1]
    if not len(falling):
        return BestMask(1.0, 0.0)
    inside = np.cumsum(falling)
    dice = 2 * inside / (np.arange(1, len(falling) + 1) + inside[-1])
    best = int(dice.argmax())
    return BestMask(float(falling[best]), float(dice[best]))


def likely_mask(probability: np.ndarray) -> np.ndarray:
    """The best mask of a map of probabilities, bool, of its shape; empty without any probability."""
    return probability >= best_mask(probability).limit


def likely_classes(probabilities: np.ndarray) -> np.ndarray:
    """(X, Y, Z) uint8 channels: each class where it is likely, the more probable one where several are.

    Where the highest probability decides alone, background takes every class that is smaller than the blur.

    Args:
        probabilities: (1 + K, X, Y, Z), background first.
    """
    likely = np.stack([likely_mask(probability) for probability in probabilities[1:]])
    claimed = np.where(likely, probabilities[1:], 0)
    return np.where(claimed.max(axis=0) > 0, 1 + claimed.argmax(axis=0), 0).astype(np.uint8)
