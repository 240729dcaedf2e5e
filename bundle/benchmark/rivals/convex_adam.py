"""convexadam: self-similarity (MIND) and coupled convex optimisation, after an affine map (Siebert et al. 2021)."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
import torch

AIR_HU = -1024.0
SPACING_MM = 3.0
BINS, SAMPLED_SHARE, ITERATIONS = 50, 0.05, 200  # of the affine map
SHRINK, SMOOTHING_MM = (4, 2, 1), (4, 2, 0)


def warp_label(fixed: sitk.Image, moving: sitk.Image, label: sitk.Image) -> sitk.Image:
    """The moving volume's label map on the fixed one's grid; the package's own settings, in float32 for a CPU.

    It expects volumes that an affine map has brought together: mutual information, at the same spacing.
    """
    from convexAdam.convex_adam_MIND import convex_adam_pt

    coarse_fixed, coarse_moving = at_spacing(fixed), at_spacing(moving)
    affine = _affine(coarse_fixed, coarse_moving)
    moved = sitk.Resample(coarse_moving, coarse_fixed, affine, sitk.sitkLinear, AIR_HU)
    arrays = (sitk.GetArrayFromImage(image).astype(np.float32) for image in (coarse_fixed, moved))
    displacement = convex_adam_pt(*arrays, dtype=torch.float32)
    field = displacement_transform(displacement, coarse_fixed)
    # The transform added last is applied first: from the fixed grid by the field, then by the affine map.
    both = sitk.CompositeTransform([affine, field])
    return sitk.Resample(label, fixed, both, sitk.sitkNearestNeighbor, 0)


def at_spacing(image: sitk.Image, spacing_mm: float = SPACING_MM) -> sitk.Image:
    """The volume with cubic voxels, linear."""
    extent_mm = np.array(image.GetSize()) * np.array(image.GetSpacing())
    size = np.maximum(np.round(extent_mm / spacing_mm), 1).astype(int).tolist()
    # Voxel corners, not centres, stay where they are.
    shift = np.array(image.GetDirection()).reshape(3, 3) @ ((spacing_mm - np.array(image.GetSpacing())) / 2)
    origin = (np.array(image.GetOrigin()) + shift).tolist()
    spacing = [spacing_mm] * 3
    return sitk.Resample(
        image, size, sitk.Transform(), sitk.sitkLinear, origin, spacing, image.GetDirection(), AIR_HU, sitk.sitkFloat32
    )


def displacement_transform(displacement: np.ndarray, grid: sitk.Image) -> sitk.Transform:
    """Displacements (Z, Y, X, 3) in voxels along z, y, x of a grid, as a transform of world places."""
    direction = np.array(grid.GetDirection()).reshape(3, 3)
    world_mm = displacement[..., ::-1] * np.array(grid.GetSpacing()) @ direction.T
    field = sitk.GetImageFromArray(world_mm.astype(np.float64), isVector=True)
    field.CopyInformation(grid)
    return sitk.DisplacementFieldTransform(field)


def _affine(fixed: sitk.Image, moving: sitk.Image) -> sitk.Transform:
    start = sitk.CenteredTransformInitializer(
        fixed, moving, sitk.AffineTransform(3), sitk.CenteredTransformInitializerFilter.GEOMETRY
    )
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(SAMPLED_SHARE, 1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsGradientDescent(1.0, ITERATIONS)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel(SHRINK)
    method.SetSmoothingSigmasPerLevel(SMOOTHING_MM)
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(start, inPlace=True)
    method.Execute(fixed, moving)
    return start
