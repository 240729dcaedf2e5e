"""Whether another value of a prediction is what a class should be: numbering that differs, or left taken for right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

MOST_OWN = 0.1  # Dice of a class under its own value, up to which it may have another one
LEAST_OTHER = 0.5  # Dice under another value from which on it has that one


def value_dice(predicted: np.ndarray, mask: np.ndarray) -> dict[int, float]:
    """Value of a prediction that lies inside a mask -> its Dice with that, without 0.

    Args:
        predicted: (X, Y, Z) whole numbers, none negative.
        mask: (X, Y, Z) bool.
    """
    shared, size = np.bincount(predicted[mask]), int(mask.sum())
    inside = (int(value) for value in np.flatnonzero(shared) if value)
    return {value: 2 * int(shared[value]) / (size + int((predicted == value).sum())) for value in inside}


def other_value(dice: Iterable[Mapping[int, float]], own: int) -> int | None:
    """The value that fits a class instead of its own one; None where there is none.

    Args:
        dice: see `value_dice`, of every case whose label has the class.
        own: its value in the predictions.
    """
    cases = list(dice)
    mean = {value: sum(case.get(value, 0.0) for case in cases) / len(cases) for value in {own}.union(*cases) if cases}
    best = max(mean, key=lambda value: mean[value], default=own)
    return best if cases and mean[own] <= MOST_OWN and mean[best] >= LEAST_OTHER else None
