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
from scripts.registration.local_correlation import LocalCorrelation, windowed_sums


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
    correlation = LocalCorrelation(fixed[0, 0], settings.registration_window_voxels)
    finer = [_linear_matrix(max(-(-size // spacing) + 1, 2), size, start.device) for size in shape]
    voxels, scale = _looked_up_at(shape, start.device)
    with torch.enable_grad():
        knots = _resized(start, [len(matrix.T) for matrix in finer])[0].requires_grad_()
        optimizer = torch.optim.Adam([knots], lr=settings.registration_rate_voxels)
        for _ in range(steps):
            smooth = _smooth(knots, settings.registration_means)
            places = voxels + scale * _along_axes(finer, smooth)
            # A place is (z, y, x) there.
            grid = torch.stack([places[2], places[1], places[0]], dim=-1)[None]
            warped = functional.grid_sample(moving, grid, padding_mode="border", align_corners=True)
            loss = settings.registration_smoothness * _slope(smooth) - correlation.mean(warped[0, 0])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return _along_axes(finer, _smooth(knots.detach(), settings.registration_means))[None]


def _looked_up_at(shape: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Every voxel in the units of torch's look-ups, (3, X, Y, Z), -1 the first and 1 the last; and a voxel in these."""
    scale = torch.tensor([2 / max(size - 1, 1) for size in shape], device=device)[:, None, None, None]
    axes = [torch.arange(size, device=device, dtype=torch.float32) for size in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")) * scale - 1, scale


def _resized(field: Tensor, shape: Sequence[int]) -> Tensor:
    return functional.interpolate(field, size=tuple(shape), mode="trilinear", align_corners=True)


def _linear_matrix(count: int, size: int, device: torch.device) -> Tensor:
    """(size, count): what linear interpolation between knots, the first and last of them at the ends, makes of each."""
    return functional.interpolate(
        torch.eye(count, device=device)[None], size=size, mode="linear", align_corners=True
    )[0].T


def _along_axes(matrices: Sequence[Tensor], field: Tensor) -> Tensor:
    """A (n, m) matrix along each of the last three axes of (3, x, y, z): `_resized` at a fraction of its time."""
    along_x, along_y, along_z = matrices
    field = field @ along_z.T
    field = along_y @ field
    return (along_x @ field.flatten(start_dim=2)).unflatten(2, field.shape[2:])


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
    along_x, along_y, along_z = (knots.diff(dim=axis).square().mean() for axis in (1, 2, 3))
    return along_x + along_y + along_z
