"""Where an image shows how it moved, and what its displacement becomes elsewhere (mode `default`).

Where grey values vary by no more than noise, their correlation fits noise to noise and moves what lies there at random:
brain stem, cord. Normalised convolution (Knutsson and Westin, CVPR 1993): every place counts by its certainty, and one
that shows little goes with the certain ones around it.
"""

from __future__ import annotations

import math

import torch
from monai.networks.layers import GaussianFilter
from torch import Tensor

from scripts.registration.local_correlation import windowed_sums

REACH = 1  # grey values vary among 3 x 3 x 3 voxels
NORMAL = 1.4826  # standard deviation over median absolute deviation, of a normal distribution
OF_DIFFERENCE = math.sqrt(1.5)  # deviation of a value minus the mean of two, over that of a value
LEAST_WEIGHT = 1e-6  # of the certain places around; where there are none, the displacement stays


def noise_of(image: Tensor) -> float:
    """Standard deviation of an (X, Y, Z) image's noise: from each voxel minus the mean of its two neighbours, along
    each axis, by the median, which edges hardly move. Flat places, as outside the body, tell nothing; 0 if all are."""
    differences = []
    for axis, size in enumerate(image.shape):
        if size > 2:
            middle = image.narrow(axis, 1, size - 2)
            beside = (image.narrow(axis, 0, size - 2) + image.narrow(axis, 2, size - 2)) / 2
            differences.append((middle - beside).abs().flatten())
    joined = torch.cat(differences) if differences else image.new_zeros(0)
    noisy = joined[joined > 0]
    return NORMAL * float(noisy.median()) / OF_DIFFERENCE if len(noisy) else 0.0


def certainty_of(image: Tensor, noise: float) -> Tensor:
    """(X, Y, Z) certainty, 0 to 1: the share of the variance around each voxel that is more than noise explains.

    Args:
        image: (X, Y, Z).
        noise: standard deviation that counts as noise; a half of the variance where grey values vary by so much.
    """
    centred = image - image.mean()  # windows at the rim see zeros beyond it
    sums, squares = windowed_sums(torch.stack([centred, centred * centred]), REACH)
    count = (2 * REACH + 1) ** 3
    variance = (squares - sums * sums / count).clamp_(min=0) / count
    return variance / (variance + noise**2).clamp(min=torch.finfo(variance.dtype).tiny)


def settled_by_certainty(displacement: Tensor, certainty: Tensor, width_voxels: float) -> Tensor:
    """Displacements (3, X, Y, Z), each mixed with the mean of those around: its own share is its certainty.

    Args:
        displacement: (3, X, Y, Z), voxels.
        certainty: (X, Y, Z), 0 to 1; it also weighs what is around.
        width_voxels: standard deviation, in voxels, of the Gaussian that says what is around.
    """
    blurred = GaussianFilter(3, width_voxels).to(displacement.device)
    weighted = torch.cat([displacement * certainty, certainty[None]])
    around = blurred(weighted[:, None])[:, 0]
    mean = torch.where(around[3:] > LEAST_WEIGHT, around[:3] / around[3:].clamp(min=LEAST_WEIGHT), displacement)
    return torch.lerp(mean, displacement, certainty)
