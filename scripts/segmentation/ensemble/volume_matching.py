"""The network's probabilities of a class add up to the volume that the atlases' have.

A network that sees each class as often as the background, with as much weight, claims too much of small ones, the more
the less it has learned. What it knows is where a class is rather than how large: the odds of each class change by one
factor everywhere, as for a classifier whose classes are more or less frequent where it is used (Saerens et al. 2002).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LEAST_BACKGROUND = 1e-3  # probabilities are stored as bytes, in which 0.998 may be 1: no factor would move that
MOST_ROUNDS = 50
CLOSE = 0.01  # of the volume


def with_volumes(probabilities: np.ndarray, volumes: Sequence[float]) -> np.ndarray:
    """(1 + K, X, Y, Z) class probabilities whose sums over all voxels are given, as far as factors can reach them.

    Args:
        probabilities: (1 + K, X, Y, Z), background first. A class without any keeps none.
        volumes: sums in voxels of the K classes; the background has the rest.
    """
    result = np.array(probabilities, dtype=np.float32)
    somewhere = result[1:].any(axis=0)
    before = result[:, somewhere]
    before[0] = np.maximum(before[0], LEAST_BACKGROUND)
    wanted = np.array(volumes, dtype=float)
    factors = np.ones(len(before))
    for _ in range(MOST_ROUNDS):
        total = factors.astype(np.float32) @ before
        found = factors[1:] * (before[1:] @ (1 / total))
        change = np.divide(wanted, found, out=np.ones_like(found), where=found > 0)
        factors[1:] *= change
        if np.all(np.abs(change - 1) <= CLOSE):
            break
    scaled = factors.astype(np.float32)[:, None] * before
    result[:, somewhere] = scaled / scaled.sum(axis=0)
    return result
