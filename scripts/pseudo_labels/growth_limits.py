"""How far a class may grow: strokes span most of an organ, so it ends at a share of their extent away from them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from scripts.common.boxes import box_of, longest_side_mm
from scripts.common.overlap import dice_of
from scripts.pseudo_labels.settings import GrowthLimits


def within_growth_limits(
    mask: np.ndarray,
    seeds: np.ndarray,
    ratio: np.ndarray,
    spacing_mm: Sequence[float],
    limits: GrowthLimits,
) -> tuple[np.ndarray, float]:
    """The part of a class's mask that is not too far from its seeds, and the confidence in its border.

    Where tissue on both sides of an organ's border looks alike, intensity ends no growth: a brain stem becomes half a
    brain, and a limit alone leaves it as large as the limit. There the class and what is beside it are about as near,
    while inside an organ with an edge all rivals are far. So a class that leaks keeps what is `away` (share of the
    strokes' extent) where its own geodesic distance is at most `(clear_share - away) / (clear_share - free_share)` of
    its nearest rival's, any below its rival's up to `free_share`.

    An organ with an edge ends where it ends, whatever the limits. The Dice between what the two kinds of limit leave
    tells how far the image, not they, made the border.

    Args:
        mask: (X, Y, Z) bool, where the class is nearest.
        seeds: (X, Y, Z) bool, at least one true.
        ratio: (X, Y, Z) geodesic distance to the class over that to its nearest rival, 0 to 1 in the mask.
        spacing_mm: voxel size along X, Y, Z.
        limits: see `GrowthLimits`.

    Returns:
        (X, Y, Z) bool, and the Dice.

    Raises:
        ValueError: no seed.
    """
    if (box := box_of(seeds)) is None:
        raise ValueError("a class without seeds has no growth limit")
    away = ndimage.distance_transform_edt(~seeds, sampling=spacing_mm) / longest_side_mm(box, spacing_mm)

    near = mask & (away <= limits.growth_share)
    allowed = np.minimum((limits.clear_share - away) / (limits.clear_share - limits.free_share), 1)
    clear = mask & (away < limits.clear_share) & (ratio <= allowed)
    leaks = near.sum() < (1 - limits.leak_share) * mask.sum()
    return clear if leaks else near, float(dice_of(near, clear))
