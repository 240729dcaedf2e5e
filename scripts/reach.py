"""How far a class may grow: strokes span most of an organ, so it ends at a share of their extent away from them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage


def within_reach(seeds: np.ndarray, spacing_mm: Sequence[float], share: float) -> np.ndarray:
    """(X, Y, Z) bool: where the nearest seed is at most `share` of the seeds' extent away.

    Where tissue on both sides of an organ's border looks alike, intensity ends no growth; a brain stem becomes half a
    brain.

    Args:
        seeds: (X, Y, Z) bool, at least one true.
        spacing_mm: voxel size along X, Y, Z.
        share: of the longest side of the box around the seeds.
    """
    (box,) = ndimage.find_objects(seeds.astype(np.uint8))
    extent_mm = max((side.stop - side.start) * step for side, step in zip(box, spacing_mm, strict=True))
    return ndimage.distance_transform_edt(~seeds, sampling=spacing_mm) <= share * extent_mm
