"""Seeds of geodesic labels: where one class is beyond doubt."""

from __future__ import annotations

import numpy as np


def seeds_from_probabilities(
    probabilities: np.ndarray, confident: float, background_seed_probability: float | None = None
) -> np.ndarray:
    """(1 + K, X, Y, Z) bool: where a class's vote exceeds `confident`.

    Args:
        probabilities: (1 + K, X, Y, Z), background first.
        confident: above one half.
        background_seed_probability: the same for background; None takes `confident`.

    Raises:
        ValueError: a limit is not above one half, so that a voxel could be a seed of two classes.
    """
    background = confident if background_seed_probability is None else background_seed_probability
    if not min(confident, background) > 0.5:
        raise ValueError(f"seeds need votes above one half, got {confident} and {background} for background")
    limits = np.array([background, *[confident] * (len(probabilities) - 1)], dtype=np.float32)
    return probabilities > limits[:, None, None, None]
