"""Deformable registration of two images, from a start that is already near (mode `default`).

Embeddings say which organ is where; their cells are too coarse for its border, which the images themselves show.
Squared local normalised cross-correlation (Avants et al. 2008) of images under a free-form deformation, whose knots
are smoothed to about a cubic B-spline (Rueckert et al. 1999), by Adam.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from monai.losses import LocalNormalizedCrossCorrelationLoss
from monai.networks.blocks import Warp
from torch import Tensor
from torch.nn import functional

from scripts.common.errors import BundleError


@dataclass(frozen=True)
class RegistrationSettings:
    """How an image deforms.

    Attributes:
        registration_half_steps: of Adam, first, on images of half the resolution: twice as far at an eighth of the
            work.
        registration_steps: of Adam on the images themselves.
        registration_fine_steps: of Adam, last, with knots at every voxel and the small window: a thin organ moves by
            itself. Without any of the three the start is kept.
        registration_window_voxels: side of the cube in which grey values are compared; odd.
        registration_fine_window_voxels: the same in the last steps.
        registration_smoothness: weight of the displacement's squared slope against the images' correlation.
        registration_knot_voxels: between the knots of the displacement, but in the last steps.
        registration_means: over 3 x 3 x 3 knots, one after the other; two of them and the linear way between knots
            make about a cubic B-spline.
        registration_rate_voxels: learning rate of Adam.
    """

    registration_half_steps: int = 60
    registration_steps: int = 30
    registration_fine_steps: int = 30
    registration_window_voxels: int = 5
    registration_fine_window_voxels: int = 3
    registration_smoothness: float = 0.03
    registration_knot_voxels: int = 3
    registration_means: int = 2
    registration_rate_voxels: float = 0.5

    def __post_init__(self) -> None:
        for window in (self.registration_window_voxels, self.registration_fine_window_voxels):
            if window < 1 or window % 2 == 0:
                raise BundleError("the window has no middle", stage="registration", expected="odd", found=window)


def deformable_displacements(fixed: Tensor, moving: Tensor, start: Tensor, settings: RegistrationSettings) -> Tensor:
    """Displacements (3, X, Y, Z) in voxels: what `fixed` shows at p, `moving` shows at p + displacement(p).

    Minimises the negative squared local normalised cross-correlation plus the squared slope of the displacement.

    Args:
        fixed: (X, Y, Z).
        moving: (X, Y, Z), on the same grid; beyond it its outermost voxels go on.
        start: (3, X, Y, Z) displacements to begin with.
        settings: see `RegistrationSettings`.
    """
    # Windows at the rim also see zeros beyond it, so images are brought around zero.
    whole, other = ((image - image.mean())[None, None] for image in (fixed.float(), moving.float()))
    field = start[None].float()
    if settings.registration_half_steps:
        sides = [min(2, size) for size in fixed.shape]
        half, other_half = (functional.avg_pool3d(image, sides, ceil_mode=True) for image in (whole, other))
        coarse = _resized(field, half.shape[2:]) / 2
        coarse = _descended(half, other_half, coarse, settings.registration_half_steps, settings)
        field = 2 * _resized(coarse, fixed.shape)
    if settings.registration_steps:
        field = _descended(whole, other, field, settings.registration_steps, settings)
    if settings.registration_fine_steps:
        window = settings.registration_fine_window_voxels
        fine = replace(settings, registration_window_voxels=window, registration_knot_voxels=1)
        field = _descended(whole, other, field, settings.registration_fine_steps, fine)
    return field[0]


def _descended(fixed: Tensor, moving: Tensor, start: Tensor, steps: int, settings: RegistrationSettings) -> Tensor:
    """As `deformable_displacements`, at one resolution; all with a batch axis, images with a channel axis, too."""
    shape, spacing = fixed.shape[2:], settings.registration_knot_voxels
    correlation, warp = LocalNormalizedCrossCorrelationLoss(kernel_size=settings.registration_window_voxels), _warp()
    # Sums of squares minus squares of sums: in TF32 nothing but rounding errors would be left of them.
    with torch.enable_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        knots = _resized(start, [max(-(-size // spacing) + 1, 2) for size in shape]).requires_grad_()
        optimizer = torch.optim.Adam([knots], lr=settings.registration_rate_voxels)
        for _ in range(steps):
            smooth = _smooth(knots, settings.registration_means)
            loss = correlation(warp(moving, _resized(smooth, shape)), fixed)
            loss = loss + settings.registration_smoothness * _slope(smooth)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return _resized(_smooth(knots.detach(), settings.registration_means), shape)


def _warp() -> Warp:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI says that it has no compiled kernels of its own
        return Warp(mode="bilinear", padding_mode="border")


def _resized(field: Tensor, shape: Sequence[int]) -> Tensor:
    return functional.interpolate(field, size=tuple(shape), mode="trilinear", align_corners=True)


def _smooth(knots: Tensor, means: int) -> Tensor:
    for _ in range(means):
        knots = functional.avg_pool3d(functional.pad(knots, [1] * 6, mode="replicate"), 3, stride=1)
    return knots


def _slope(knots: Tensor) -> Tensor:
    """Mean squared difference of neighbouring knots, summed over the axes."""
    along_x, along_y, along_z = (knots.diff(dim=axis).square().mean() for axis in (2, 3, 4))
    return along_x + along_y + along_z
