"""The grower of bones: what is as bright as the strokes and holds on to them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scripts.common.masks.filled_slices import fill_slices
from scripts.pseudo_labels.parts import distance_mm, parts_with


def by_threshold(
    image: np.ndarray,
    strokes: np.ndarray,
    others: np.ndarray,
    possible: np.ndarray,
    threshold: float,
    reach_mm: float,
    spacing_mm: Sequence[float],
) -> np.ndarray:
    """(X, Y, Z) bool: bright voxels connected with the strokes, nearer to them than to strokes on another bone.

    Bones come in several parts, and teeth are brighter than jaws: there is no upper limit, and every part that holds
    strokes stays. Strokes beside the bone are no rivals: brightness tells that what they mark is something else. What
    a bone encloses in a plane, as its marrow, is of it.

    Args:
        image: (X, Y, Z) in [0, 1].
        strokes: (X, Y, Z) bool, drawn in planes across the third axis.
        others: (X, Y, Z) bool, all other strokes.
        possible: (X, Y, Z) bool, outside there is none of it.
        threshold: bright is from here on.
        reach_mm: farther from the strokes there is none of it.
        spacing_mm: voxel size along X, Y, Z.
    """
    bright = (image >= threshold) & possible
    away_mm, rivals_mm = distance_mm(strokes, spacing_mm), distance_mm(others & bright, spacing_mm)
    grown = parts_with((bright & (away_mm <= reach_mm) & (away_mm < rivals_mm)) | strokes, strokes)
    return fill_slices(grown) & ~others
