"""Slices of volumes in RAS axes, without loading scaled copies of whole volumes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from scripts.common.affines import spacing_of
from scripts.common.errors import BundleError
from scripts.data.volume_io import is_nifti, read_labels


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
        stored = np.asarray(np.moveaxis(self.array, axis, 0)[index], dtype=np.float32)
        return np.nan_to_num(stored * self.slope + self.intercept, nan=0.0, posinf=0.0, neginf=0.0)

    def to_voxel(self, world_mm: np.ndarray) -> np.ndarray:
        """World millimetres (N, 3) to voxel coordinates (N, 3), voxel centres at whole numbers."""
        world_mm = np.asarray(world_mm, dtype=float).reshape(-1, 3)
        return nib.affines.apply_affine(np.linalg.inv(self.affine), world_mm)

    def to_world_mm(self, voxel: np.ndarray) -> np.ndarray:
        """Voxel coordinates (..., 3) to world millimetres."""
        return nib.affines.apply_affine(self.affine, np.asarray(voxel, dtype=float))


def open_image(path: Path) -> RasVolume:
    """Open a NIfTI image; only the stored numbers are read, scaling happens slice by slice.

    Raises:
        BundleError: the file is missing or cannot be read.
    """
    try:
        image = nib.load(path)
        stored = np.asanyarray(image.dataobj.get_unscaled())
    except Exception as error:  # nibabel and zlib raise many types for a damaged file
        raise BundleError("the volume cannot be read", stage="report", file=path, found=error) from error
    if stored.ndim == 4 and stored.shape[3] == 1:
        stored = stored[..., 0]
    if stored.ndim != 3:
        raise BundleError("the volume is not 3-D", stage="report", file=path, found=f"{stored.ndim}-D")
    slope, intercept = image.dataobj.slope, image.dataobj.inter
    return _reoriented(stored, image.affine, float(slope), float(intercept))


def open_labels(path: Path) -> RasVolume:
    """Open a label map of any format as whole numbers.

    Raises:
        BundleError: the file is missing or cannot be read.
    """
    if is_nifti(path):
        volume = open_image(path)
        if (volume.slope, volume.intercept) == (1.0, 0.0) and volume.array.dtype.kind in "ui":
            return volume
    labels = read_labels(path)
    return _reoriented(labels.array, labels.affine, 1.0, 0.0)


def _reoriented(array: np.ndarray, affine: np.ndarray, slope: float, intercept: float) -> RasVolume:
    orientation = nib.io_orientation(affine)
    ras = nib.apply_orientation(array, orientation)
    return RasVolume(ras, affine @ nib.orientations.inv_ornt_aff(orientation, array.shape), slope, intercept)
