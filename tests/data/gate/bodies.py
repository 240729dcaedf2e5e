"""Bodies of a few tissues, with the noise of a scanner."""

from __future__ import annotations

import numpy as np

SHAPE = (60, 56, 30)
AIR_HU, LUNG_HU, FAT_HU, MUSCLE_HU, BONE_HU = -1000.0, -800.0, -100.0, 60.0, 900.0


def noise(seed: int, deviation: float = 12.0) -> np.ndarray:
    """(X, Y, Z) of mean 0."""
    return np.random.default_rng(seed).normal(0, deviation, SHAPE)


def radius() -> np.ndarray:
    """(X, Y, Z) distance to the middle axis, in voxels."""
    x, y, _ = np.indices(SHAPE)
    return np.hypot(x - 30, y - 28)


def chest(seed: int = 0) -> np.ndarray:
    """(X, Y, Z) float32 whole HU: spine, lungs, muscle, fat, air."""
    layers = [(4, BONE_HU), (13, LUNG_HU), (20, MUSCLE_HU), (24, FAT_HU)]
    return painted(layers, seed)


def painted(layers: list[tuple[float, float]], seed: int = 0, outside: float = AIR_HU) -> np.ndarray:
    """(X, Y, Z) float32 whole HU: from the middle outwards (radius in voxels, HU)."""
    distance, hu = radius(), np.full(SHAPE, outside)
    for reach, value in reversed(layers):
        hu[distance < reach] = value
    return np.clip(np.rint(hu + noise(seed)), -1024, 3071).astype(np.float32)
