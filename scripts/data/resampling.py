"""Canonical orientation and resampling to the working spacing, with voxel centres kept at their world position."""

from __future__ import annotations

from collections.abc import Sequence

import nibabel as nib
import numpy as np
from scipy import ndimage

from scripts.common.affines import between_grids
from scripts.common.boxes import slabs_of
from scripts.common.files import in_c_order
from scripts.common.sampling import onto_grid
from scripts.data.volume_io import Volume

RAS = np.array([[0, 1], [1, 1], [2, 1]])


def canonical(volume: Volume) -> Volume:
    """The same voxels with axes flipped and permuted to the closest RAS order; an oblique grid stays oblique."""
    orientation = nib.io_orientation(volume.affine)
    array = nib.apply_orientation(volume.array, orientation)
    return Volume(array, volume.affine @ nib.orientations.inv_ornt_aff(orientation, volume.array.shape))


def stored_order(array: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Canonical voxels, as `canonical` gives them, back in the order of axes that `affine`, (4, 4), tells."""
    back = nib.orientations.ornt_transform(RAS, nib.io_orientation(affine))
    return in_c_order(nib.apply_orientation(array, back))


def resampled_shape(shape: Sequence[int], from_mm: Sequence[float], to_mm: Sequence[float]) -> tuple[int, ...]:
    """Voxels along each axis once (X, Y, Z) `shape` at `from_mm` is resampled to `to_mm`."""
    return tuple(max(1, round(count * old / new)) for count, old, new in zip(shape, from_mm, to_mm, strict=True))


def resample(volume: Volume, spacing_mm: Sequence[float], limits: tuple[float, float] = (-np.inf, np.inf)) -> Volume:
    """Resample along the volume's own axes to `spacing_mm` (X, Y, Z): Gaussian low-pass, then linear interpolation.

    The new grid has the centre of the old one. An axis made coarser by a factor r is smoothed first with a standard
    deviation of (r - 1) / 2 voxels, so that nothing aliases. Both steps are linear and separable, hence one small
    matrix an axis: scipy's own response to the unit vectors.

    Args:
        volume: any numbers.
        spacing_mm: of the new grid.
        limits: values are clipped to these first.
    """
    array = volume.array
    shape = resampled_shape(array.shape, volume.spacing_mm, spacing_mm)
    step_to_new = np.eye(4)
    for axis, (old_mm, new_mm) in enumerate(zip(volume.spacing_mm, spacing_mm, strict=True)):
        ratio = new_mm / old_mm
        first = ((array.shape[axis] - 1) - ratio * (shape[axis] - 1)) / 2
        step_to_new[axis, axis], step_to_new[axis, 3] = ratio, first
        matrix = _axis_matrix(array.shape[axis], shape[axis], ratio, first)
        array = _clipped_product(matrix, array, limits) if axis == 0 else _product(matrix, array, axis)
    return Volume(np.ascontiguousarray(array), volume.affine @ step_to_new)


def nearest_on_grid(volume: Volume, affine: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """(X, Y, Z) label values of `volume` on another grid of `shape` and `affine`: the nearest label each, 0 outside.

    The outermost voxels reach half a voxel beyond their centres.
    """
    return onto_grid(volume.array, between_grids(affine, volume.affine), shape, order=0, outside=0)


def shares_on_grid(volume: Volume, values: Sequence[int], affine: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """(K, X, Y, Z) float32 share of K label values in each voxel of another grid; outside `volume` is none of them.

    Each voxel is looked at in as many equally spaced places as it covers voxels of `volume`, at least one.

    Args:
        volume: a label map.
        values: the K label values.
        affine: (4, 4) of the other grid.
        shape: of that.
    """
    steps = np.abs(between_grids(affine, volume.affine)[:3, :3]).sum(axis=0)
    counts = [max(1, int(np.ceil(step - 1e-3))) for step in steps]
    finer = affine @ np.diag([*(1 / count for count in counts), 1.0])
    finer[:3, 3] += affine[:3, :3] @ [(1 / count - 1) / 2 for count in counts]
    looked = nearest_on_grid(volume, finer, [size * count for size, count in zip(shape, counts, strict=True)])
    places = looked.reshape([part for pair in zip(shape, counts, strict=True) for part in pair])
    return np.stack([(places == value).mean(axis=(1, 3, 5), dtype=np.float32) for value in values])


def _product(matrix: np.ndarray, array: np.ndarray, axis: int) -> np.ndarray:
    return np.moveaxis(np.tensordot(matrix, array, axes=(1, axis)), 0, axis)


def _clipped_product(matrix: np.ndarray, array: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Along the first axis; the volume, which is large as yet, is never copied as a whole."""
    result = np.empty((len(matrix), *array.shape[1:]), dtype=np.float32)
    for rows, *_ in slabs_of([slice(0, size) for size in (array.shape[1], array.shape[0], array.shape[2])]):
        part = np.clip(array[:, rows], *limits).astype(np.float32, copy=False)
        result[:, rows] = _product(matrix, part, 0)
    return result


def _axis_matrix(old_count: int, new_count: int, ratio: float, first: float) -> np.ndarray:
    """(new_count, old_count) float32: what smoothing and sampling at `first + ratio * i` make of each old voxel."""
    response = np.eye(old_count)
    if ratio > 1:
        response = ndimage.gaussian_filter1d(response, sigma=0.5 * (ratio - 1), axis=0, mode="nearest")
    places = np.clip(first + ratio * np.arange(new_count), 0, old_count - 1)
    columns = np.arange(old_count)
    grid = np.meshgrid(places, columns, indexing="ij")
    return ndimage.map_coordinates(response, grid, order=1).astype(np.float32)
