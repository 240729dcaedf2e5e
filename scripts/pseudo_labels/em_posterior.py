"""Transferred votes made sharper by the case's own intensities: votes know the place, intensities the border.

Each class's intensities are learnt from the case itself, where the votes put the class, by a few rounds of
expectation and maximisation (Van Leemput et al., IEEE TMI 1999, with votes in the atlas's place).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

BINS = 64
SMOOTHING_MM = 2.8  # of the image, against noise, and of each round's posterior
HISTOGRAM_SMOOTHING = 1.5  # bins
NEAR_VOTE, NEAR_MM = 0.1, 24.0  # intensities are learnt around the classes: far tissue is no rival
FLOOR = 1e-4  # share of a histogram that every intensity has, seen or not
CELLS_PER_REACH = 1.5  # of the grid on which the background's histograms stand
# The whole background counts everywhere, as this share of a full cell: a place without any has nothing else.
WHOLE_SHARE = 0.3


def em_posterior(
    image: np.ndarray,
    probabilities: np.ndarray,
    body: np.ndarray,
    spacing_mm: Sequence[float],
    rounds: int,
    reach_mm: float = 0.0,
) -> np.ndarray:
    """Class probabilities (1 + K, X, Y, Z) from votes and intensities; background outside the body.

    Args:
        image: (X, Y, Z) in [0, 1].
        probabilities: (1 + K, X, Y, Z) probabilities of place, background first.
        body: (X, Y, Z) bool.
        spacing_mm: voxel size along X, Y, Z.
        rounds: 0 leaves the votes as they are inside the body.
        reach_mm: the background's intensities are learnt place by place, weighed by a Gaussian of this standard
            deviation: what surrounds an organ differs from side to side. 0 learns one histogram within `NEAR_MM`.
    """
    width = [SMOOTHING_MM / step for step in spacing_mm]
    bins = np.clip((ndimage.gaussian_filter(image, width) * BINS).astype(int), 0, BINS - 1)
    heard = probabilities[1:].max(axis=0) > NEAR_VOTE
    near = body & (ndimage.distance_transform_edt(~heard, sampling=spacing_mm) <= NEAR_MM) if heard.any() else body
    posterior = _in_body(probabilities, body)
    for _ in range(rounds):
        if reach_mm:
            background = _local_likelihood(bins, posterior[0] * body, spacing_mm, reach_mm)
        else:
            background = _likelihood(bins, posterior[0] * near)
        found = probabilities * np.stack([background, *(_likelihood(bins, share * near) for share in posterior[1:])])
        found = _in_body(found / found.sum(axis=0, keepdims=True), body)
        posterior = np.stack([ndimage.gaussian_filter(share, width) for share in found])
    return posterior


def _likelihood(bins: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """How often each voxel's intensity occurs in a class whose voxels have these weights."""
    counts = ndimage.gaussian_filter1d(np.bincount(bins.ravel(), weights.ravel(), BINS), HISTOGRAM_SMOOTHING)
    counts += FLOOR * counts.sum() + np.finfo(np.float32).tiny
    return (counts / counts.sum())[bins]


def _local_likelihood(
    bins: np.ndarray, weights: np.ndarray, spacing_mm: Sequence[float], reach_mm: float
) -> np.ndarray:
    """As `_likelihood`, among the voxels around each place."""
    steps = [max(round(reach_mm / CELLS_PER_REACH / step), 1) for step in spacing_mm]
    cells = [-(-size // step) for size, step in zip(bins.shape, steps, strict=True)]
    places = (np.arange(size) // step for size, step in zip(bins.shape, steps, strict=True))
    cell = np.ravel_multi_index(np.ix_(*places), cells)
    counts = np.bincount((cell * BINS + bins).ravel(), weights.ravel(), np.prod(cells) * BINS).reshape(*cells, BINS)
    width = [reach_mm / (step * size) for step, size in zip(steps, spacing_mm, strict=True)]
    counts = ndimage.gaussian_filter(counts, [*width, HISTOGRAM_SMOOTHING], mode="constant")
    whole = counts.sum(axis=(0, 1, 2))
    whole += FLOOR * whole.sum() + np.finfo(np.float32).tiny
    counts += WHOLE_SHARE * np.prod(steps) * whole / whole.sum()
    counts /= counts.sum(axis=-1, keepdims=True)
    return counts.reshape(-1, BINS)[cell, bins]


def _in_body(probabilities: np.ndarray, body: np.ndarray) -> np.ndarray:
    result = probabilities * body
    result[0] += ~body
    return result
