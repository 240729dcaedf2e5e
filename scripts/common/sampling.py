"""Values of a volume between its voxels: at single places, or on another grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage


def sample_at(array: np.ndarray, voxels: np.ndarray, outside: float | None = None) -> np.ndarray:
    """Linear interpolation at single places, float32.

    Args:
        array: (X, Y, Z).
        voxels: (..., 3) fractional voxel indices.
        outside: value beyond the centres of the outermost voxels; None takes the nearest of those.

    Returns:
        (...), one value a place.
    """
    coordinates = voxels.reshape(-1, 3).T
    if outside is None:
        values = ndimage.map_coordinates(array, coordinates, order=1, mode="nearest")
    else:
        values = ndimage.map_coordinates(array, coordinates, order=1, mode="constant", cval=outside)
    return values.reshape(voxels.shape[:-1]).astype(np.float32)


def onto_grid(
    array: np.ndarray,
    to_array: np.ndarray,
    shape: Sequence[int],
    order: int,
    outside: float | None = None,
    parallel: bool = False,
) -> np.ndarray:
    """A volume on another grid, dtype of `array`.

    Args:
        array: (X, Y, Z).
        to_array: (4, 4) map from the new grid's voxels to fractional voxels of `array` (see `between_grids`).
        shape: of the new grid.
        order: 1 interpolates linearly, 0 takes the nearest voxel.
        outside: value of the voxels around the volume, with which its outermost ones blend; None repeats those.
        parallel: the axes of both grids are parallel, so that each is resampled by itself: the diagonal of `to_array`
            is taken alone. Faster; equal up to rounding.

    Returns:
        (X, Y, Z) of `shape`; `array` itself if nothing changes and `parallel`.
    """
    shape = tuple(int(size) for size in shape)
    if parallel and array.shape == shape and np.allclose(to_array, np.eye(4), atol=1e-6):
        return array
    matrix = np.diag(to_array)[:3] if parallel else to_array[:3, :3]
    border = {"mode": "nearest"} if outside is None else {"mode": "grid-constant", "cval": outside}
    return ndimage.affine_transform(array, matrix, to_array[:3, 3], output_shape=shape, order=order, **border)
