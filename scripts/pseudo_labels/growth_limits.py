"""How far a class may grow: strokes span most of an organ, so it ends at a share of their extent away from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from scripts.common.errors import BundleError
from scripts.common.overlap import dice_of

STAGE = "region"


@dataclass(frozen=True)
class GrowthLimits:
    """Limits of a class, as shares of its strokes' extent (the longest side of the box around them).

    Args:
        share: what lies further from the strokes is not of the class.
        leak_share: a class that would lose more than this share of its volume to that has no edge that stops it, and
            what is far from its strokes must be clearly nearer to it than to its rivals.
        free_share: up to here that is not asked.
        clear_share: from here on nothing is near enough.

    Raises:
        BundleError: `free_share` is not below `clear_share`.
    """

    share: float = 0.4
    leak_share: float = 0.15
    free_share: float = 0.2
    clear_share: float = 0.5

    def __post_init__(self) -> None:
        if self.free_share >= self.clear_share:
            expected, found = f"free_share below clear_share, {self.clear_share}", self.free_share
            raise BundleError("the limits of growth are not usable", stage=STAGE, expected=expected, found=found)


def within_growth_limits(
    mask: np.ndarray,
    seeds: np.ndarray,
    ratio: np.ndarray,
    spacing_mm: Sequence[float],
    reach: GrowthLimits,
) -> tuple[np.ndarray, float]:
    """The part of a class's mask that is not too far from its seeds, and how sure its border is.

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
        reach: the limits.

    Returns:
        (X, Y, Z) bool, and the Dice.
    """
    (box,) = ndimage.find_objects(seeds.astype(np.uint8))
    extent_mm = max((side.stop - side.start) * step for side, step in zip(box, spacing_mm, strict=True))
    away = ndimage.distance_transform_edt(~seeds, sampling=spacing_mm) / extent_mm

    near = mask & (away <= reach.share)
    allowed = np.minimum((reach.clear_share - away) / (reach.clear_share - reach.free_share), 1)
    clear = mask & (away < reach.clear_share) & (ratio <= allowed)
    leaks = near.sum() < (1 - reach.leak_share) * mask.sum()
    return clear if leaks else near, float(dice_of(near, clear))
