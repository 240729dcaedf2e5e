"""How far a class may grow: strokes span most of an organ, so it ends at a share of their extent away from them.

And how large it may be in other cases: about what it is in the support.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from scripts.common.boxes import box_of, longest_side_mm
from scripts.common.overlap import dice_of
from scripts.data.records import PointSet
from scripts.pseudo_labels.settings import GrowthLimits, SupportLimits


class SupportSize(NamedTuple):
    """Of one class in the support.

    Attributes:
        volume_ml: of its mask, as it grows from the strokes.
        extent_mm: longest side of the box around the strokes, along the world's axes; None of a single point.
    """

    volume_ml: float
    extent_mm: float | None


def within_growth_limits(
    mask: np.ndarray,
    seeds: np.ndarray,
    ratio: np.ndarray,
    spacing_mm: Sequence[float],
    limits: GrowthLimits,
    extent_mm: float | None = None,
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
        extent_mm: of the strokes; None measures that of the seeds.

    Returns:
        (X, Y, Z) bool, and the Dice.

    Raises:
        ValueError: no seed.
    """
    if (box := box_of(seeds)) is None:
        raise ValueError("a class without seeds has no growth limit")
    extent_mm = longest_side_mm(box, spacing_mm) if extent_mm is None else extent_mm
    away = ndimage.distance_transform_edt(~seeds, sampling=spacing_mm) / extent_mm

    near = mask & (away <= limits.growth_share)
    allowed = np.minimum((limits.clear_share - away) / (limits.clear_share - limits.free_share), 1)
    clear = mask & (away < limits.clear_share) & (ratio <= allowed)
    leaks = near.sum() < (1 - limits.leak_share) * mask.sum()
    return clear if leaks else near, float(dice_of(near, clear))


def support_sizes(
    points: PointSet, volume_ml: Mapping[str, float], classes: Mapping[str, int]
) -> dict[int, SupportSize]:
    """Channel -> size of every class that the support has.

    Args:
        points: of any case; each knows its place in the support.
        volume_ml: class -> volume of its mask in the support.
        classes: name -> label value.
    """
    sizes = {}
    for channel, (name, value) in enumerate(classes.items(), start=1):
        strokes_mm = points.support_mm[points.labels == value]
        if len(strokes_mm) and volume_ml[name] > 0:
            sizes[channel] = SupportSize(volume_ml[name], float(np.ptp(strokes_mm, axis=0).max()) or None)
    return sizes


def within_support_volume(
    mask: np.ndarray, ratio: np.ndarray, support_voxels: float, limits: SupportLimits
) -> np.ndarray:
    """The part of a class's mask that its volume in the support allows, (X, Y, Z) bool.

    Of a class that is too large stays what is clearly nearer to it than to its rivals: a flood runs far from the seeds
    and ends where a rival's begins. Of one that is far too small nothing stays: its seeds are elsewhere.

    Args:
        mask: (X, Y, Z) bool.
        ratio: (X, Y, Z) geodesic distance to the class over that to its nearest rival, 0 to 1 in the mask.
        support_voxels: volume in the support, in voxels of this size.
        limits: see `SupportLimits`.
    """
    places = np.flatnonzero(mask)
    if len(places) < limits.least_volume_share * support_voxels:
        return np.zeros_like(mask)
    most = int(limits.most_volume_share * support_voxels)
    if len(places) <= most:
        return mask
    kept = np.zeros(mask.size, bool)
    kept[places[np.argsort(ratio.ravel()[places], kind="stable")[:most]]] = True
    return kept.reshape(mask.shape)
