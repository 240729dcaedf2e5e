"""Organs that were painted whole on some slices: how that is told from strokes, and the organ between these slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from scripts.pseudo_labels.kinds.radial_profile import alike_range, radial_profile
from scripts.pseudo_labels.kinds.slice_interpolation import interpolated_depth_mm, signed_depth_mm
from scripts.pseudo_labels.kinds.stroke_kind import KindSettings


def covers_its_organ(
    image: np.ndarray,
    strokes: np.ndarray,
    others: np.ndarray,
    spacing_mm: Sequence[float],
    settings: KindSettings,
) -> bool | None:
    """Whether what was drawn reaches the organ's border; None where it is too thin to say, as lines are.

    Around a line inside an organ all looks like what is under it. What was painted whole ends where intensities change:
    within a voxel or its diagonal neighbour, or within a share of its own thickness. What comes next looks less
    like its inner half than its own rim does.

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
    core, beyond = np.zeros_like(strokes), np.zeros_like(strokes)
    for z, depth_mm in planes_mm.items():
        core[:, :, z] = depth_mm >= depth_mm.max() / 2
        beyond[:, :, z] = (-depth_mm > limit_mm) & (-depth_mm <= limit_mm + step_mm)
    low, high = alike_range(image[core], 0.0)
    alike = (image >= low) & (image <= high)
    rim, beyond = strokes & ~core, beyond & ~others
    if not rim.any() or not beyond.any() or alike[beyond].mean() > settings.most_alike_share * alike[rim].mean():
        return False
    reach_mm = radial_profile((alike & ~others) | strokes, strokes, spacing_mm, settings.profile_limit_mm).reach_mm
    return reach_mm <= limit_mm


def are_painted(answers: Sequence[bool | None], least_share: float) -> bool:
    """Whether more classes cover their organs than do not, and more than a share of all, by `covers_its_organ`."""
    covered = sum(answer is True for answer in answers)
    return covered > max(sum(answer is False for answer in answers), least_share * len(answers))


@dataclass(frozen=True)
class BetweenSlices:
    """What is known of an organ that was painted whole on some slices, all (X, Y, Z).

    Its border is free by one mm in the plane for each mm to the next painted slice.

    Attributes:
        certain: bool, of the organ.
        outside: bool, not of the organ: on a painted slice all that was not painted, too.
        interpolated: bool, the shape between the slices.
        away: float16, 0 in that shape, 1 where the organ must have ended.
    """

    certain: np.ndarray
    outside: np.ndarray
    interpolated: np.ndarray
    away: np.ndarray


def between_slices(painted: np.ndarray, others: np.ndarray, spacing_mm: Sequence[float]) -> BetweenSlices:
    """What painted slices say of what lies between them.

    Args:
        painted: (X, Y, Z) bool, in planes across the third axis, on two of them at least.
        others: (X, Y, Z) bool, all other strokes.
        spacing_mm: voxel size along X, Y, Z.
    """
    depth_mm = interpolated_depth_mm(painted, spacing_mm)
    on_slice = painted.any(axis=(0, 1))
    free_mm = ndimage.distance_transform_edt(~on_slice, sampling=spacing_mm[2]).astype(np.float32)
    outside = others | (on_slice & ~painted) | (depth_mm <= -free_mm)
    return BetweenSlices(
        certain=(depth_mm > free_mm) & ~outside,
        outside=outside,
        interpolated=(depth_mm > 0) & ~others,
        away=np.clip(-depth_mm / np.maximum(free_mm, min(spacing_mm)), 0, 1).astype(np.float16),
    )
