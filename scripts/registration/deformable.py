"""One image bent onto another, from a start that is already near (mode `default`).

Embeddings say which organ is where; their cells are too coarse for its border, which the images themselves show.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from monai.losses import LocalNormalizedCrossCorrelationLoss
from monai.networks.blocks import Warp
from torch import Tensor
from torch.nn import functional

from scripts.common.errors import BundleError

KNOT_VOXELS = 3  # between the knots of the displacement
ROUNDS_OF_MEANS = 2  # over 3 x 3 x 3 knots: together with the linear way between them about a cubic B-spline
RATE_VOXELS = 0.5  # of Adam


@dataclass(frozen=True)
class RegistrationSettings:
    """How an image bends.

    Attributes:
        half_steps: of Adam, first, on images of half the resolution: twice as far at an eighth of the work.
        steps: of Adam on the images themselves; without any of both the start is kept.
        window: side of the cube, in voxels, in which grey values are compared; odd.
        smoothness: weight of the displacement's squared slope against the images' correlation.
    """

    half_steps: int = 60
    steps: int = 30
    window: int = 5
    smoothness: float = 0.03

    def __post_init__(self) -> None:
        if self.window < 1 or self.window % 2 == 0:
            raise BundleError("the window has no middle", stage="registration", expected="odd", found=self.window)


def registered(fixed: Tensor, moving: Tensor, start: Tensor, settings: RegistrationSettings) -> Tensor:
    """Displacements (3, X, Y, Z) in voxels: what `fixed` shows at p, `moving` shows at p + displacement(p).

    Minimises the negative squared local normalised cross-correlation plus the squared slope of the displacement.

    Args:
        fixed: (X, Y, Z).
        moving: (X, Y, Z), on the same grid; beyond it its outermost voxels go on.
        start: (3, X, Y, Z) displacements to begin with.
        settings: see `RegistrationSettings`.
    """
    # Windows at the rim also see zeros beyond it, so images are brought around zero.
    images = [(image - image.mean())[None, None] for image in (fixed.float(), moving.float())]
    field = start[None].float()
    if settings.half_steps:
        sides = [min(2, size) for size in fixed.shape]
        halves = [functional.avg_pool3d(image, sides, ceil_mode=True) for image in images]
        coarse = _resized(field, halves[0].shape[2:]) / 2
        field = 2 * _resized(_bent(*halves, coarse, settings.half_steps, settings), fixed.shape)
    return (_bent(*images, field, settings.steps, settings) if settings.steps else field)[0]


def _bent(fixed: Tensor, moving: Tensor, start: Tensor, steps: int, settings: RegistrationSettings) -> Tensor:
    """As `registered`, at one resolution; all with a batch axis, images with a channel axis, too."""
    shape = fixed.shape[2:]
    likeness, warp = LocalNormalizedCrossCorrelationLoss(kernel_size=settings.window), _warp()
    # Sums of squares minus squares of sums: in TF32 nothing but rounding errors would be left of them.
    with torch.enable_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        knots = _resized(start, [max(-(-size // KNOT_VOXELS) + 1, 2) for size in shape]).requires_grad_()
        optimizer = torch.optim.Adam([knots], lr=RATE_VOXELS)
        for _ in range(steps):
            smooth = _smooth(knots)
            loss = likeness(warp(moving, _resized(smooth, shape)), fixed) + settings.smoothness * _slope(smooth)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return _resized(_smooth(knots.detach()), shape)


def _warp() -> Warp:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI says that it has no compiled kernels of its own
        return Warp(mode="bilinear", padding_mode="border")


def _resized(field: Tensor, shape: Sequence[int]) -> Tensor:
    return functional.interpolate(field, size=tuple(shape), mode="trilinear", align_corners=True)


def _smooth(knots: Tensor) -> Tensor:
    for _ in range(ROUNDS_OF_MEANS):
        knots = functional.avg_pool3d(functional.pad(knots, [1] * 6, mode="replicate"), 3, stride=1)
    return knots


def _slope(knots: Tensor) -> Tensor:
    """Mean squared difference of neighbouring knots, summed over the axes."""
    return sum(knots.diff(dim=axis).square().mean() for axis in (2, 3, 4))
