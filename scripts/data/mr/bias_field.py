"""The slow change of brightness across an MR that coils make, by N4 (Tustison, IEEE TMI 2010)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk

from scripts.common.affines import between_grids
from scripts.common.sampling import onto_grid
from scripts.data.resampling import resample
from scripts.data.volume_io import Volume

ITERATIONS = (50, 50, 50)  # of each level of the B-spline; SimpleITK's own, with one level less
CONVERGENCE = 0.001
LEAST_VOXELS = 4  # along an axis: N4 fits cubic B-splines


def log_bias_field(volume: Volume, body: np.ndarray, spacing_mm: float) -> np.ndarray:
    """Logarithm of the field that the image was multiplied with, (X, Y, Z) on the image's grid; its level is free.

    Args:
        volume: (X, Y, Z) intensities.
        body: (X, Y, Z) bool, where the field is fitted.
        spacing_mm: of the grid that it is fitted on, where the image is finer: it is smooth, and time is not.
    """
    steps = [max(step, spacing_mm) for step in volume.spacing_mm]
    small = resample(volume, steps)
    mask = resample(Volume(body.astype(np.float32), volume.affine), steps).array > 0.5
    if min(small.array.shape) < LEAST_VOXELS or not mask.any():
        return np.zeros(volume.array.shape, dtype=np.float32)
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations(ITERATIONS)
    n4.SetConvergenceThreshold(CONVERGENCE)
    n4.SetNumberOfThreads(1)  # sums in another order differ in the last bit
    image = _to_itk(small.array, steps)
    n4.Execute(image, _to_itk(mask.astype(np.uint8), steps))
    field = sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(image)).T
    return onto_grid(field, between_grids(volume.affine, small.affine), volume.array.shape, order=1, outside=None)


def _to_itk(array: np.ndarray, steps_mm: Sequence[float]) -> sitk.Image:
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetSpacing([float(step) for step in steps_mm])
    return image
