"""Squared local normalised cross-correlation (Avants et al. 2008) and its gradient, for one image and many others.

As MONAI's `LocalNormalizedCrossCorrelationLoss` with a rectangular window, but for its sign, at a third of its time:
what the first image alone decides is computed once, and the gradient is written out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

LEAST_VARIANCE = 1e-5  # of a window's sum of squares: nothing but noise is below


class LocalCorrelation:
    """Of an image, (X, Y, Z), with others on its grid, in windows of `window` voxels; beyond the images are zeros."""

    def __init__(self, image: Tensor, window: int) -> None:
        self.image, self.reach, self.count = image, window // 2, window**3
        self.sums, squares = windowed_sums(torch.stack([image, image * image]), self.reach)
        self.variance = (squares - self.sums * self.sums / self.count).clamp_(min=LEAST_VARIANCE)

    def mean(self, other: Tensor) -> Tensor:
        """Over all windows, at most 1; can be differentiated by the (X, Y, Z) other image."""
        return _MeanCorrelation.apply(other, self)


def windowed_sums(values: Tensor, reach: int, axes: Sequence[int] = (1, 2, 3)) -> Tensor:
    """(C, X, Y, Z) sums over the voxels within reach along each of the axes; beyond the volume are zeros."""
    for axis in axes:
        total, size = values.clone(), values.shape[axis]
        for step in range(1, min(reach, size - 1) + 1):
            total.narrow(axis, step, size - step).add_(values.narrow(axis, 0, size - step))
            total.narrow(axis, 0, size - step).add_(values.narrow(axis, step, size - step))
        values = total
    return values


class _MeanCorrelation(torch.autograd.Function):
    """With S for sums over windows of n voxels: cross = S(f g) - S(f) S(g) / n, NCC^2 = cross^2 / (var(f) var(g))."""

    @staticmethod
    def forward(ctx: Any, other: Tensor, of: LocalCorrelation) -> Tensor:
        sums, squares, products = windowed_sums(torch.stack([other, other * other, other * of.image]), of.reach)
        cross = products.addcmul_(of.sums, sums, value=-1 / of.count)
        variance = squares.addcmul_(sums, sums, value=-1 / of.count)
        varies = variance > LEAST_VARIANCE
        variance.clamp_(min=LEAST_VARIANCE)
        by_products = cross / (variance * of.variance)  # half the derivative by S(f g)
        correlation = by_products * cross
        by_squares = (correlation / variance).mul_(varies)  # minus the derivative by S(g g)
        by_sums = (by_squares * sums).addcmul_(by_products, of.sums, value=-1)  # half that by S(g), times n
        ctx.save_for_backward(other, by_products, by_squares, by_sums)
        ctx.of = of
        return correlation.mean()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        other, *derivatives = ctx.saved_tensors
        of: LocalCorrelation = ctx.of
        by_products, by_squares, by_sums = windowed_sums(torch.stack(derivatives), of.reach)
        total = (by_sums / of.count).addcmul_(of.image, by_products).addcmul_(other, by_squares, value=-1)
        return total.mul_(2 * gradient / other.numel()), None
