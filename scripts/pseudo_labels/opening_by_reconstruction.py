"""What leaked out of a mask through a narrow passage is cut off: geodesic masks flow on where brightness allows it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from scripts.pseudo_labels.parts import parts_with

ROUNDING = 1e-9


def opened_by_reconstruction(
    mask: np.ndarray, seeds: np.ndarray, spacing_mm: Sequence[float], radius_mm: float, share: float
) -> np.ndarray:
    """The part of a mask that a ball can reach from the seeds, moving inside the mask: opening by reconstruction.

    The ball's radius is `radius_mm`, but at most `share` of the depth of the deepest seed, so that small organs stay.

    Args:
        mask: (X, Y, Z) bool; where the volume ends it is not taken to end.
        seeds: (X, Y, Z) bool, where the mask grew from.
        spacing_mm: voxel size along X, Y, Z.
        radius_mm: of the ball.
        share: of the deepest seed's distance from the mask's surface.

    Returns:
        (X, Y, Z) bool; the mask itself where no seed is deeper than the ball's radius.
    """
    depth_mm = ndimage.distance_transform_edt(mask, sampling=spacing_mm)
    seeds = seeds & mask
    if not seeds.any():
        return mask
    radius_mm = min(radius_mm, share * float(depth_mm[seeds].max()))
    kept = parts_with(depth_mm > radius_mm, seeds)
    if not kept.any():
        return mask
    # One voxel more than the ball along each axis: its surface lies between voxels.
    reach_mm = radius_mm + np.asarray(spacing_mm)
    near = ndimage.distance_transform_edt(~kept, sampling=spacing_mm / reach_mm) <= 1 + ROUNDING
    return mask & (near | seeds)
