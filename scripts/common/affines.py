"""Affines: (4, 4), voxel centre [i, j, k, 1] to world millimetres, RAS+; arrays are (X, Y, Z)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

ROUNDING_VOXELS = 1e-3  # over a whole grid; headers hold few digits
HARMLESS_VOXELS = 0.1  # more than rounding becomes on a finer or larger grid
LEAN_DIGITS = 12  # show any shear, and hide the rounding of orthogonal axes


def spacing_of(affine: np.ndarray) -> tuple[float, float, float]:
    """Voxel spacing in mm along the three axes of a (4, 4) affine's array."""
    x, y, z = np.linalg.norm(np.asarray(affine)[:3, :3], axis=0)
    return float(x), float(y), float(z)


def is_same(affine: np.ndarray, other: np.ndarray) -> bool:
    """Whether two (4, 4) affines say the same, but for what a header's float32 loses."""
    return np.allclose(affine, other, rtol=1e-5, atol=1e-3)


def voxel_ml(affine: np.ndarray) -> float:
    """Volume of a voxel in ml; of orthogonal axes that of a box of `spacing_of`, to the last digit."""
    spacing_mm = np.array(spacing_of(affine))
    lean = abs(float(np.linalg.det(np.asarray(affine)[:3, :3] / spacing_mm)))  # 1 of orthogonal axes, less of others
    return float(np.prod(spacing_mm)) * round(lean, LEAN_DIGITS) / 1000


def to_world(voxels: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """World positions in mm of (N, 3) voxel indices."""
    return np.asarray(voxels, dtype=float) @ affine[:3, :3].T + affine[:3, 3]


def to_voxels(world_mm: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Fractional voxel indices of (N, 3) world positions in mm."""
    return (np.asarray(world_mm, dtype=float) - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T


def nearest_voxels(voxels: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """(N, 3) fractional voxel indices rounded to int and clamped to a volume of `shape`."""
    return np.clip(np.rint(voxels).astype(int), 0, np.array(shape) - 1)


def between_grids(affine: np.ndarray, other_affine: np.ndarray) -> np.ndarray:
    """(4, 4) map from voxels of the grid of `affine` to fractional voxels of the other grid."""
    return np.linalg.inv(other_affine) @ affine


def corners_of(shape: Sequence[int]) -> np.ndarray:
    """(8, 4) homogeneous voxel indices of the outermost voxels."""
    corners = np.indices((2, 2, 2)).reshape(3, -1).T * (np.asarray(shape) - 1)
    return np.column_stack([corners, np.ones(len(corners))])


def apart_mm(affine: np.ndarray, other_affine: np.ndarray, shape: Sequence[int]) -> float:
    """How far apart two affines put a voxel of a grid of `shape` at most, in mm."""
    return float(np.linalg.norm(corners_of(shape) @ (affine - other_affine).T, axis=1).max())


def are_parallel(to_other: np.ndarray, shape: Sequence[int], tolerance_voxels: float = ROUNDING_VOXELS) -> bool:
    """Whether two grids have parallel axes in the same order: the diagonal of the map between them says all.

    Args:
        to_other: (4, 4), see `between_grids`.
        shape: (X, Y, Z) of the grid that it maps from.
        tolerance_voxels: of the other grid, by which no place within that shape may be off.
    """
    across = to_other[:3, :3] - np.diag(np.diag(to_other)[:3])
    return bool((np.abs(across) @ np.asarray(shape)).max() < tolerance_voxels)


def between_parallel_grids(affine: np.ndarray, other_affine: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """`between_grids`, for those who take each axis by itself: what is off the diagonal is rounding.

    Args:
        affine: (4, 4).
        other_affine: (4, 4).
        shape: (X, Y, Z) of the grid of `affine`.

    Raises:
        ValueError: the axes are not parallel, as where one grid alone is sheared; places would be off.
    """
    to_other = between_grids(affine, other_affine)
    if not are_parallel(to_other, shape, HARMLESS_VOXELS):
        raise ValueError(f"the axes of the two grids are not parallel: {to_other[:3, :3].tolist()}")
    return to_other
