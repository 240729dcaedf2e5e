"""The grower of hollow organs whose wall was drawn on, too: the air that the strokes lie in, and a wall around it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from scripts.pseudo_labels.parts import distance_mm, parts_with


def lumen_of(
    image: np.ndarray, strokes: np.ndarray, others: np.ndarray, possible: np.ndarray, brightness: float
) -> np.ndarray:
    """(X, Y, Z) bool: dark voxels connected with the strokes.

    Args:
        image: (X, Y, Z) in [0, 1].
        strokes: (X, Y, Z) bool, drawn in planes across the third axis.
        others: (X, Y, Z) bool, all other strokes.
        possible: (X, Y, Z) bool, outside there is none of it.
        brightness: dark is below.
    """
    return parts_with((image < brightness) & possible & ~others, strokes)


def wall_strokes_mm(lumen: np.ndarray, strokes: np.ndarray, spacing_mm: Sequence[float]) -> tuple[np.ndarray, int]:
    """(N,) in-plane distance to the lumen of every voxel of the strokes outside it, where its plane shows any lumen;
    and how many strokes, connected in their planes, these are.

    Args:
        lumen: (X, Y, Z) bool.
        strokes: (X, Y, Z) bool, drawn in planes across the third axis.
        spacing_mm: voxel size along X, Y, Z.
    """
    outside = strokes & ~lumen
    planes = np.flatnonzero(outside.any(axis=(0, 1)) & lumen.any(axis=(0, 1)))
    away = [distance_mm(lumen[:, :, z], spacing_mm[:2])[outside[:, :, z]] for z in planes]
    count = sum(ndimage.label(outside[:, :, z], structure=np.ones((3, 3)))[1] for z in planes)
    return (np.concatenate(away) if away else np.zeros(0)), count


def wall_thicknesses_mm(distances_mm: np.ndarray, stroke_count: int) -> tuple[float, float, float]:
    """Of a wall in which strokes lie anywhere: expected, least and a likely most.

    Expected is the smaller of two estimates of the end of a uniform distribution, so that a stroke that strays decides
    nothing: twice the median, and where nine tenths lie, with the usual gap between two strokes once more.

    Args:
        distances_mm: (N,) from the lumen, N at least 1.
        stroke_count: in how many strokes they lie.
    """
    beyond = (stroke_count + 1) / stroke_count
    estimates_mm = float(np.percentile(distances_mm, 90)) * beyond, 2 * float(np.median(distances_mm))
    expected_mm = min(estimates_mm)
    return expected_mm, expected_mm / beyond, max(*estimates_mm, float(distances_mm.max()) * beyond)


def with_walls(
    lumen: np.ndarray,
    strokes: np.ndarray,
    others: np.ndarray,
    possible: np.ndarray,
    thicknesses_mm: Sequence[float],
    spacing_mm: Sequence[float],
) -> list[np.ndarray]:
    """(X, Y, Z) bool each: the lumen and what is around it, unless other strokes are nearer; where it closes, too.

    Args:
        lumen: (X, Y, Z) bool.
        strokes: (X, Y, Z) bool, of the organ.
        others: (X, Y, Z) bool, all other strokes.
        possible: (X, Y, Z) bool, outside there is none of it.
        thicknesses_mm: of a wall each.
        spacing_mm: voxel size along X, Y, Z.
    """
    away_mm = distance_mm(lumen, spacing_mm)
    free = possible & (away_mm < distance_mm(others, spacing_mm))
    return [((away_mm <= thick_mm) & free) | strokes for thick_mm in thicknesses_mm]
