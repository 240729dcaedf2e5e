"""Connected parts of a mask, whose voxels share faces, and the distance to one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage


def parts_with(mask: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """(X, Y, Z) bool: the parts of a mask, (X, Y, Z) bool, that hold a seed of it."""
    parts, count = ndimage.label(mask)
    holds = np.zeros(count + 1, dtype=bool)
    holds[parts[seeds & mask]] = True
    holds[0] = False
    return np.asarray(holds[parts])


def distance_mm(mask: np.ndarray, spacing_mm: Sequence[float] | np.ndarray) -> np.ndarray:
    """(X, Y, Z) distance to a mask, (X, Y, Z) bool; infinite where it is empty."""
    if not mask.any():
        return np.full(mask.shape, np.inf)
    return np.asarray(ndimage.distance_transform_edt(~mask, sampling=spacing_mm))
