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
            is taken alone. Faster; equal up to rounding. Linear: of floating-point numbers.

    Returns:
        (X, Y, Z) of `shape`; `array` itself if nothing changes and `parallel`.
    """
    shape = tuple(int(size) for size in shape)
    if parallel and array.shape == shape and np.allclose(to_array, np.eye(4), atol=1e-6):
        return array
    if parallel and order == 1:
        for axis in (2, 1, 0):  # the last one is the cheapest: whole planes
            places = to_array[axis, axis] * np.arange(shape[axis]) + to_array[axis, 3]
            array = _along(array, axis, places, outside)
        return array
    matrix = np.diag(to_array)[:3] if parallel else to_array[:3, :3]
    border = {"mode": "nearest"} if outside is None else {"mode": "grid-constant", "cval": outside}
    return ndimage.affine_transform(array, matrix, to_array[:3, 3], output_shape=shape, order=order, **border)


def _along(array: np.ndarray, axis: int, places: np.ndarray, outside: float | None) -> np.ndarray:
    """Linear interpolation of (X, Y, Z) along one axis; between equal values lies exactly that value."""
    if outside is not None:
        array = np.pad(array, [(1, 1) if other == axis else (0, 0) for other in range(3)], constant_values=outside)
        places = places + 1
    last = array.shape[axis] - 1
    places = np.clip(places, 0, last)
    low = np.minimum(np.floor(places).astype(int), max(last - 1, 0))
    high = np.minimum(low + 1, last)
    weights = (places - low).astype(array.dtype)
    result = np.empty((*array.shape[:axis], len(places), *array.shape[axis + 1 :]), dtype=array.dtype)
    if axis == 0:
        for plane, first, second, weight in zip(result, low.tolist(), high.tolist(), weights, strict=True):
            _between(array[first], array[second], weight, plane)
    else:
        shaped = weights.reshape([-1 if other == axis else 1 for other in range(1, 3)])
        for plane, values in zip(result, array, strict=True):
            _between(values.take(low, axis - 1), values.take(high, axis - 1), shaped, plane)
    return result


def _between(first: np.ndarray, second: np.ndarray, weight: np.ndarray, out: np.ndarray) -> None:
    np.subtract(second, first, out=out)
    out *= weight
    out += first
