"""An affine map between two bodies that may be scanned from and to different heights."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

STARTS_MM = (-90.0, -60.0, -30.0, 0.0, 30.0, 60.0, 90.0)  # along the body, from centre upon centre
BINS, STEPS, LEAST_STEP = 32, 60, 0.05
COARSE, FINE = ((4,), (8,)), ((2, 1), (4, 0))  # factors that voxels are joined by; smoothing in mm
COARSE_SAMPLED, FINE_SAMPLED = 0.5, 0.2  # shares of the voxels
COARSE_STEP, FINE_STEP = 4.0, 2.0


def affine_map(fixed: sitk.Image, moving: sitk.Image) -> sitk.Transform:
    """From places of one volume to those of another: mutual information, the best of several starts, then refined.

    Args:
        fixed: grey values, cropped to the body.
        moving: likewise.

    Raises:
        RuntimeError: no start brings them together.
    """
    found = []
    for start_mm in STARTS_MM:
        start = sitk.CenteredTransformInitializer(
            fixed, moving, sitk.AffineTransform(3), sitk.CenteredTransformInitializerFilter.GEOMETRY
        )
        start.SetTranslation(np.add(start.GetTranslation(), [0.0, 0.0, start_mm]).tolist())
        method = _method(*COARSE, COARSE_SAMPLED, COARSE_STEP)
        method.SetInitialTransform(start, inPlace=True)
        try:
            method.Execute(fixed, moving)
        except RuntimeError:  # it drifted apart from there
            continue
        found.append((method.GetMetricValue(), start))
    if not found:
        raise RuntimeError("two volumes do not overlap from any start")
    best = min(found, key=lambda entry: entry[0])[1]
    method = _method(*FINE, FINE_SAMPLED, FINE_STEP)
    method.SetInitialTransform(best, inPlace=True)
    method.Execute(fixed, moving)
    return best


def _method(
    shrink: tuple[int, ...], smoothing_mm: tuple[int, ...], sampled: float, step: float
) -> sitk.ImageRegistrationMethod:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(sampled)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(step, LEAST_STEP, STEPS)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel(shrink)
    method.SetSmoothingSigmasPerLevel(smoothing_mm)
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    return method
