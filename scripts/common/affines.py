"""Affines: (4, 4), voxel centre [i, j, k, 1] to world millimetres, RAS+; arrays are (X, Y, Z)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def spacing_of(affine: np.ndarray) -> tuple[float, float, float]:
    """Voxel spacing in mm along the array's three axes."""
    x, y, z = np.linalg.norm(np.asarray(affine)[:3, :3], axis=0)
    return float(x), float(y), float(z)


def is_same(affine: np.ndarray, other: np.ndarray) -> bool:
    """Whether two affines say the same, but for what a header's float32 loses."""
    return np.allclose(affine, other, rtol=1e-5, atol=1e-3)


def to_world(voxels: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """World positions in mm of (N, 3) voxel indices."""
    return np.asarray(voxels, dtype=float) @ affine[:3, :3].T + affine[:3, 3]


def to_voxels(world_mm: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Fractional voxel indices of (N, 3) world positions in mm."""
    return (np.asarray(world_mm, dtype=float) - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T


def nearest_voxels(voxels: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Fractional voxel indices rounded and clamped to the volume."""
    return np.clip(np.rint(voxels).astype(int), 0, np.array(shape) - 1)


def between_grids(affine: np.ndarray, other_affine: np.ndarray) -> np.ndarray:
    """(4, 4) map from voxels of the grid of `affine` to fractional voxels of the other grid."""
    return np.linalg.inv(other_affine) @ affine
