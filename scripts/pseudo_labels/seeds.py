"""Seeds of geodesic labels: where one class is beyond doubt."""

from __future__ import annotations

import numpy as np


def seeds_from_votes(votes: np.ndarray, confident: float, confident_background: float | None = None) -> np.ndarray:
    """(1 + K, X, Y, Z) bool: where a class's vote exceeds `confident`.

    Args:
        votes: (1 + K, X, Y, Z), background first.
        confident: above one half.
        confident_background: the same for background; None takes `confident`.

    Raises:
        ValueError: a limit is not above one half, so that a voxel could be a seed of two classes.
    """
    background = confident if confident_background is None else confident_background
    if not min(confident, background) > 0.5:
        raise ValueError(f"seeds need votes above one half, got {confident} and {background} for background")
    limits = np.array([background, *[confident] * (len(votes) - 1)], dtype=np.float32)
    return votes > limits[:, None, None, None]
