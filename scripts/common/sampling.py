"""Values of a volume between its voxels: at single places, on another grid, or where a finer label map needs them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from scripts.common.boxes import Box, box_of, slabs_of


class FinerSlab(NamedTuple):
    """A part of a finer grid, and what a coarse label map says of it.

    Attributes:
        box: the part.
        label: of its shape: of each voxel's corners the first, which is the label of all where they agree.
        looked: indices in the part, by axis, of voxels between corners that do not: they need a look at the values.
        at: (N, 3) fractional coarse voxels of those.
    """

    box: Box
    label: np.ndarray
    looked: tuple[np.ndarray, ...]
    at: np.ndarray


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
    if order == 0 and np.count_nonzero(to_array[:3, :3]) == np.count_nonzero(np.diag(to_array)[:3]):
        return _nearest(array, to_array, shape, outside)
    matrix = np.diag(to_array)[:3] if parallel else to_array[:3, :3]
    border = {"mode": "nearest"} if outside is None else {"mode": "grid-constant", "cval": outside}
    return ndimage.affine_transform(array, matrix, to_array[:3, 3], output_shape=shape, order=order, **border)


def _nearest(array: np.ndarray, to_array: np.ndarray, shape: tuple[int, ...], outside: float | None) -> np.ndarray:
    """Nearest voxels where every axis goes by itself, as `affine_transform` rounds; see `onto_grid`."""
    places = [
        np.floor(to_array[axis, axis] * np.arange(size) + to_array[axis, 3] + 0.5).astype(int)
        for axis, size in enumerate(shape)
    ]
    if outside is None:
        nearest = [np.clip(place, 0, size - 1) for place, size in zip(places, array.shape, strict=True)]
        return np.asarray(array[np.ix_(*nearest)])
    within = [(place >= 0) & (place < size) for place, size in zip(places, array.shape, strict=True)]
    result = np.full(shape, outside, dtype=array.dtype)
    seen = array[np.ix_(*(place[inside] for place, inside in zip(places, within, strict=True)))]
    result[np.ix_(*within)] = seen
    return result


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


def finer_slabs(label: np.ndarray, doubtful: np.ndarray, places: Sequence[np.ndarray]) -> Iterator[FinerSlab]:
    """A finer grid in parts that are small beside it; beyond them everything is 0.

    Args:
        label: (x, y, z) label map, 0 and above.
        doubtful: (x, y, z) bool: whether the corners from a voxel on disagree, see `at_borders` and `at_corners`.
        places: of each axis of the finer grid, whose axes are parallel, the ascending places between the voxels of
            `label`, within it.
    """
    low = [axis.astype(int) for axis in places]
    for box in slabs_of(_finer_box(box_of(doubtful | (label > 0)), low)):
        x, y, z = (axis[side] for axis, side in zip(low, box, strict=True))
        looked = doubtful[x][:, y][:, :, z].nonzero()
        at = np.stack([axis[side][index] for axis, side, index in zip(places, box, looked, strict=True)], axis=-1)
        yield FinerSlab(box, label[x][:, y][:, :, z], looked, at)


def _finer_box(box: Box | None, low: Sequence[np.ndarray]) -> Box | None:
    """Of a box of voxels, those of a finer grid that lie from them on; `low`: of each axis, the voxel before."""
    if box is None:
        return None
    x, y, z = (slice(*np.searchsorted(axis, [side.start, side.stop])) for axis, side in zip(low, box, strict=True))
    return x, y, z


def at_borders(label: np.ndarray) -> np.ndarray:
    """(X, Y, Z) bool: whether the eight corners from a voxel on have several labels."""
    border = np.zeros(label.shape, dtype=bool)
    for axis in range(3):
        other = np.moveaxis(label, axis, 0)
        differs = np.zeros_like(border)
        np.moveaxis(differs, axis, 0)[:-1] = other[:-1] != other[1:]
        border |= at_corners(differs, [across for across in range(3) if across != axis])
    return border


def at_corners(mask: np.ndarray, axes: Sequence[int] = (0, 1, 2)) -> np.ndarray:
    """(X, Y, Z) bool: whether any of the eight corners from a voxel on, or of those along some axes, is in the mask."""
    for axis in axes:
        spread = mask.copy()
        np.moveaxis(spread, axis, 0)[:-1] |= np.moveaxis(mask, axis, 0)[1:]
        mask = spread
    return mask
