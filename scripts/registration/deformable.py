"""Deformable registration of two images, from a start that is already near (mode `default`).

Embeddings say which organ is where; their cells are too coarse for its border, which the images themselves show.
Squared local normalised cross-correlation (Avants et al. 2008) of images under a free-form deformation, whose knots
are smoothed to about a cubic B-spline (Rueckert et al. 1999), by Adam.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from scripts.common.errors import BundleError
from scripts.registration.image_lookup import looked_up
from scripts.registration.local_correlation import LocalCorrelation, windowed_sums


@dataclass(frozen=True)
class RegistrationSettings:
    """How an image deforms.

    Attributes:
        registration_half_steps: first steps of Adam, on images of half the resolution: twice as far at an eighth of the
            work.
        registration_steps: next steps of Adam, on the images themselves.
        registration_fine_steps: last steps of Adam, with knots at every voxel and the small window: a thin organ moves
            by itself. Without any of the three the start is kept.
        registration_window_voxels: side of the cube in which grey values are compared, in voxels; odd.
        registration_fine_window_voxels: side of that cube in the last steps, in voxels; odd.
        registration_smoothness: weight of the displacement's squared slope against the images' correlation.
        registration_knot_voxels: voxels between the knots of the displacement, but in the last steps.
        registration_means: how often the displacement is averaged over 3 x 3 x 3 knots; two of them and the linear way
            between knots make about a cubic B-spline.
        registration_rate_voxels: learning rate of Adam, in voxels.
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
    shape, spacing, image = fixed.shape[2:], settings.registration_knot_voxels, moving[0, 0]
    correlation = LocalCorrelation(fixed[0, 0], settings.registration_window_voxels)
    counts = [max(-(-size // spacing) + (spacing > 1), 2) for size in shape]
    finer = [_linear_matrix(count, size, start.device) for count, size in zip(counts, shape, strict=True)]
    axes = [torch.arange(size, dtype=torch.float32, device=start.device) for size in shape]
    voxels = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    with torch.enable_grad():
        knots = _resized(start, counts)[0].requires_grad_()
        optimizer = torch.optim.Adam([knots], lr=settings.registration_rate_voxels)
        for _ in range(steps):
            smooth = _smooth(knots, settings.registration_means)
            warped = looked_up(image, voxels + _along_axes(finer, smooth))
            loss = settings.registration_smoothness * _slope(smooth) - correlation.mean(warped)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return _along_axes(finer, _smooth(knots.detach(), settings.registration_means))[None]


def _resized(field: Tensor, shape: Sequence[int]) -> Tensor:
    return functional.interpolate(field, size=tuple(shape), mode="trilinear", align_corners=True)


def _linear_matrix(count: int, size: int, device: torch.device) -> Tensor | None:
    """(size, count): what linear interpolation between knots, the first and last of them at the ends, makes of each.

    None where a knot is at every voxel.
    """
    if count == size:
        return None
    return functional.interpolate(torch.eye(count, device=device)[None], size=size, mode="linear", align_corners=True)[
        0
    ].T


def _along_axes(matrices: Sequence[Tensor | None], field: Tensor) -> Tensor:
    """A (n, m) matrix, or None, along each of the last three axes of (3, x, y, z): `_resized` in a part of its time."""
    along_x, along_y, along_z = matrices
    field = field if along_z is None else field @ along_z.T
    field = field if along_y is None else along_y @ field
    return field if along_x is None else (along_x @ field.flatten(start_dim=2)).unflatten(2, field.shape[2:])


def _smooth(knots: Tensor, means: int) -> Tensor:
    for _ in range(means):
        knots = _Mean.apply(knots)
    return knots


class _Mean(torch.autograd.Function):
    """Over 3 x 3 x 3 of (3, x, y, z), the outermost ones repeated: its own adjoint."""

    @staticmethod
    def forward(ctx: Any, knots: Tensor) -> Tensor:
        for axis in range(1, 4):
            total = windowed_sums(knots, 1, [axis])
            total.select(axis, 0).add_(knots.select(axis, 0))
            total.select(axis, -1).add_(knots.select(axis, -1))
            knots = total.div_(3)
        return knots

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Mean.forward(ctx, gradient)


def _slope(knots: Tensor) -> Tensor:
    """Mean squared difference of neighbouring knots, (3, x, y, z), summed over the axes."""
    return _Slope.apply(knots)


class _Slope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, knots: Tensor) -> Tensor:
        total, gradient = knots.new_zeros(()), torch.zeros_like(knots)
        for axis in range(1, 4):
            difference = knots.diff(dim=axis)
            total += difference.square().mean()
            size = difference.shape[axis]
            gradient.narrow(axis, 1, size).add_(difference, alpha=2 / difference.numel())
            gradient.narrow(axis, 0, size).sub_(difference, alpha=2 / difference.numel())
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, by_total: Tensor) -> Tensor:
        (gradient,) = ctx.saved_tensors
        return gradient * by_total
