"""Slices of volumes in RAS axes, without loading scaled copies of whole volumes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import nibabel as nib
import numpy as np
from numpy.typing import ArrayLike

from scripts.common.affines import spacing_of
from scripts.common.errors import BundleError
from scripts.common.files import open_nifti
from scripts.data.volume_io import is_nifti, read_labels

SMALLEST_VIEW_MM = 140.0
MARGIN_MM = 20.0


@dataclass(frozen=True)
class RasVolume:
    """A volume whose array axes point Right, Anterior, Superior (to the nearest 90 degrees).

    Args:
        array: (X, Y, Z) view of the stored numbers.
        affine: (4, 4) of that view, voxel centre to world millimetres.
        slope, intercept: stored number * slope + intercept is the value.
    """

    array: np.ndarray
    affine: np.ndarray
    slope: float = 1.0
    intercept: float = 0.0

    @property
    def spacing_mm(self) -> np.ndarray:
        """(3,) distance of neighbouring voxel centres."""
        return np.array(spacing_of(self.affine))

    def plane(self, axis: int, index: int) -> np.ndarray:
        """Values of one slice, (first, second remaining axis), float32, NaN and infinities as 0."""
        return self._scaled(np.moveaxis(self.array, axis, 0)[index])

    def values(self) -> np.ndarray:
        """Values of all voxels, (X, Y, Z) float32, NaN and infinities as 0."""
        return self._scaled(self.array)

    def _scaled(self, stored: np.ndarray) -> np.ndarray:
        scaled = np.asarray(stored, dtype=np.float32) * self.slope + self.intercept
        return np.nan_to_num(scaled, nan=0.0, posinf=0.0, neginf=0.0)

    def to_voxel(self, world_mm: np.ndarray) -> np.ndarray:
        """World millimetres (N, 3) to voxel coordinates (N, 3), voxel centres at whole numbers."""
        world_mm = np.asarray(world_mm, dtype=float).reshape(-1, 3)
        return nib.affines.apply_affine(np.linalg.inv(self.affine), world_mm)

    def to_world_mm(self, voxel: np.ndarray) -> np.ndarray:
        """Voxel coordinates (..., 3) to world millimetres."""
        return nib.affines.apply_affine(self.affine, np.asarray(voxel, dtype=float))


@dataclass(frozen=True)
class View:
    """A cube around what is shown, and the three slices through it.

    Args:
        centre: (3,) canonical voxel coordinates of the cube's centre.
        side_mm: its edge, so that the three planes have one scale.
        slices: (3,) voxel index of the slice along each axis.
    """

    centre: tuple[float, float, float]
    side_mm: float
    slices: tuple[int, int, int]


def view_around(low: ArrayLike, high: ArrayLike, slices: ArrayLike, volume: RasVolume, smallest_mm: float) -> View:
    """The cube around a box of canonical voxels, with a margin, not larger than the volume needs.

    Args:
        low: (3,) first voxel of the box.
        high: (3,) last voxel of the box.
        slices: (3,) voxel that the slices run through.
        volume: that is shown.
        smallest_mm: least edge of the cube.
    """
    first, last = np.asarray(low, dtype=float), np.asarray(high, dtype=float)
    shape = np.array(volume.array.shape)
    extent_mm = ((last - first + 1) * volume.spacing_mm).max() + 2 * MARGIN_MM
    side_mm = float(np.clip(extent_mm, smallest_mm, (shape * volume.spacing_mm).max()))
    half = side_mm / 2 / volume.spacing_mm
    free = np.maximum((shape - 1) / 2 - half, 0)  # where the volume is larger than the cube, stay inside it
    x, y, z = np.clip((first + last) / 2, (shape - 1) / 2 - free, (shape - 1) / 2 + free).tolist()
    i, j, k = np.clip(np.rint(slices).astype(int), 0, shape - 1).tolist()
    return View((x, y, z), side_mm, (i, j, k))


def open_image(path: Path) -> RasVolume:
    """Open a NIfTI image; only the stored numbers are read, scaling happens slice by slice.

    Raises:
        BundleError: the file is missing or cannot be read.
    """
    try:
        image = open_nifti(path)
        voxels = cast(nib.arrayproxy.ArrayProxy, image.dataobj)  # of any image that comes from a file
        stored = np.asanyarray(voxels.get_unscaled())
    except Exception as error:  # nibabel and zlib raise many types for a damaged file
        raise BundleError("the volume cannot be read", stage="report", file=path, found=error) from error
    if stored.ndim == 4 and stored.shape[3] == 1:
        stored = stored[..., 0]
    if stored.ndim != 3:
        raise BundleError("the volume is not 3-D", stage="report", file=path, found=f"{stored.ndim}-D")
    return _reoriented(stored, image.affine, float(voxels.slope), float(voxels.inter))


def open_labels(path: Path, classes: Mapping[str, int] | None = None) -> RasVolume:
    """Open a label map of any format as whole numbers.

    Args:
        path: the label map.
        classes: see `read_labels`.

    Raises:
        BundleError: the file is missing or cannot be read.
    """
    if is_nifti(path):
        volume = open_image(path)
        if (volume.slope, volume.intercept) == (1.0, 0.0) and volume.array.dtype.kind in "ui":
            return volume
    labels = read_labels(path, classes)
    return _reoriented(labels.array, labels.affine, 1.0, 0.0)


def _reoriented(array: np.ndarray, affine: np.ndarray, slope: float, intercept: float) -> RasVolume:
    orientation = nib.io_orientation(affine)
    ras = nib.apply_orientation(array, orientation)
    return RasVolume(ras, affine @ nib.orientations.inv_ornt_aff(orientation, array.shape), slope, intercept)
