"""Organs that were painted whole on some slices: how that is told from strokes, and the organ between these slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from scripts.pseudo_labels.kinds.radial_profile import alike_range, radial_profile
from scripts.pseudo_labels.kinds.slice_interpolation import interpolated_depth_mm, signed_depth_mm
from scripts.pseudo_labels.kinds.stroke_kind import KindSettings


def left_out_mm(
    image: np.ndarray,
    strokes: np.ndarray,
    others: np.ndarray,
    spacing_mm: Sequence[float],
    settings: KindSettings,
) -> float | None:
    """How far a class that was painted whole goes on beside what was drawn, in the plane: 0 where that is less than a
    voxel, infinity where it was not painted whole, None where what was drawn is too thin to say, as lines are.

    Around a line inside an organ all looks like what is under it. What was painted whole ends where intensities change:
    within a voxel or its diagonal neighbour, or within a share of its own thickness. What comes next looks less like
    its inner half than its own rim does.

    Args:
        image: (X, Y, Z) in [0, 1].
        strokes: (X, Y, Z) bool, drawn in planes across the third axis, at least one true.
        others: (X, Y, Z) bool, all other strokes.
        spacing_mm: voxel size along X, Y, Z.
        settings: see `KindSettings`.
    """
    drawn = np.flatnonzero(strokes.any(axis=(0, 1)))
    step_mm = min(spacing_mm[0], spacing_mm[1])
    planes_mm = {z: signed_depth_mm(strokes[:, :, z], spacing_mm) for z in drawn.tolist()}
    thickness_mm = float(np.median([plane.max() for plane in planes_mm.values()]))
    if len(drawn) < 2 or thickness_mm < settings.painted_depth_voxels * step_mm:
        return None
    limit_mm = max(settings.painted_reach_voxels * step_mm, settings.painted_reach_share * thickness_mm)
    core, beyond, around = (np.zeros_like(strokes) for _ in range(3))
    for z, depth_mm in planes_mm.items():
        core[:, :, z] = depth_mm >= depth_mm.max() / 2
        beyond[:, :, z] = (-depth_mm > limit_mm) & (-depth_mm <= limit_mm + step_mm)
        around[:, :, z] = (-depth_mm > limit_mm) & (-depth_mm <= settings.profile_limit_mm)
    contrast = abs(float(np.median(image[core])) - float(np.median(image[around]))) if around.any() else 0.0
    low, high = alike_range(image[core], contrast / 2)  # a quarter of the way to what is around is blur
    alike = (image >= low) & (image <= high)
    rim, beyond = strokes & ~core, beyond & ~others
    if not rim.any() or not beyond.any() or alike[beyond].mean() > settings.most_alike_share * alike[rim].mean():
        return np.inf
    reach_mm = radial_profile((alike & ~others) | strokes, strokes, spacing_mm, settings.profile_limit_mm).reach_mm
    if reach_mm > limit_mm:
        return np.inf
    return reach_mm if reach_mm >= step_mm else 0.0  # borders are blurred by a voxel


def are_painted(left_out: Sequence[float | None], least_share: float) -> bool:
    """Whether more classes were painted whole than were not, and more than a share of all, by `left_out_mm`."""
    whole = sum(left is not None and np.isfinite(left) for left in left_out)
    return bool(whole > max(sum(left == np.inf for left in left_out), least_share * len(left_out)))


@dataclass(frozen=True)
class BetweenSlices:
    """What is known of an organ that was painted whole on some slices, all (X, Y, Z).

    Its border is free by one mm in the plane for each mm to the next painted slice, and by what was left out.

    Attributes:
        certain: bool, of the organ.
        outside: bool, not of the organ: on a painted slice all that was neither painted nor left out, too.
        interpolated: bool, the shape between the slices.
        away: float16, 0 in that shape, 1 where the organ must have ended.
    """

    certain: np.ndarray
    outside: np.ndarray
    interpolated: np.ndarray
    away: np.ndarray


def between_slices(
    painted: np.ndarray, others: np.ndarray, spacing_mm: Sequence[float], left_mm: float = 0.0
) -> BetweenSlices:
    """What painted slices say of what lies between them.

    Args:
        painted: (X, Y, Z) bool, in planes across the third axis, on two of them at least.
        others: (X, Y, Z) bool, all other strokes.
        spacing_mm: voxel size along X, Y, Z.
        left_mm: how far the organ goes on beside what was painted, see `left_out_mm`.
    """
    depth_mm = interpolated_depth_mm(painted, spacing_mm)
    to_slice_mm = ndimage.distance_transform_edt(~painted.any(axis=(0, 1)), sampling=spacing_mm[2]).astype(np.float32)
    free_mm = np.maximum(to_slice_mm, left_mm)
    outside = others | (depth_mm <= -free_mm)
    return BetweenSlices(
        certain=(painted | (depth_mm > free_mm)) & ~outside,
        outside=outside,
        interpolated=(depth_mm > -left_mm) & ~others,
        away=np.clip(-depth_mm / np.maximum(free_mm, min(spacing_mm)), 0, 1).astype(np.float16),
    )
