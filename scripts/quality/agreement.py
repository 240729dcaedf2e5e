"""How good each of several segmentations is, estimated from how far they agree (mode `default`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scripts.common.overlap import dice_of

MOST_ROUNDS = 500
CONVERGED = 1e-6


def agreements(masks: Sequence[np.ndarray]) -> np.ndarray:
    """(n, n) Dice of every two of n bool masks; 0, not 1, where both are empty: nothing is no evidence."""
    table = np.eye(len(masks))
    for i, first in enumerate(masks):
        for j, second in enumerate(masks[:i]):
            table[i, j] = table[j, i] = dice_of(first, second) if first.any() else 0.0
    return table


def qualities(table: np.ndarray) -> np.ndarray:
    """Each rater's Dice with the unknown truth, (n,) in [0, 1], from the (n, n) Dice between raters.

    If they err independently, two raters agree as far as both are right: a_ij = q_i * q_j. This one-factor model is
    fitted to all pairs by least squares, one rater at a time. Two raters get the same quality, the root.

    Args:
        table: symmetric; its diagonal is not used.
    """
    count = len(table)
    if count < 2:
        return np.zeros(count)
    pairs = table * (1 - np.eye(count))
    quality = np.sqrt(pairs.sum(axis=1) / (count - 1))
    for _ in range(MOST_ROUNDS):
        before = quality.copy()
        for i in range(count):
            others = np.delete(quality, i)
            weight = (others**2).sum()
            quality[i] = np.clip((np.delete(pairs[i], i) * others).sum() / weight, 0, 1) if weight > 0 else 0.0
        if np.abs(quality - before).max() < CONVERGED:
            break
    return quality


def quality_interval(table: np.ndarray, rater: int) -> tuple[float, float]:
    """Lowest and highest quality of one rater when any other one is left out.

    Of two raters the one is at least as good as they agree, should the other one be perfect.

    Args:
        table: as for `qualities`.
        rater: its row.
    """
    with_all = float(qualities(table)[rater])
    if len(table) < 3:
        return float(min(table[rater].min(), with_all)), 1.0
    estimates = [with_all]
    for left_out in range(len(table)):
        if left_out != rater:
            rest = np.delete(np.delete(table, left_out, axis=0), left_out, axis=1)
            estimates.append(float(qualities(rest)[rater - (left_out < rater)]))
    return min(estimates), max(estimates)
