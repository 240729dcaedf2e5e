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


def tissue_posterior(
    image: np.ndarray, votes: np.ndarray, body: np.ndarray, spacing_mm: Sequence[float], rounds: int
) -> np.ndarray:
    """Class probabilities (1 + K, X, Y, Z) from votes and intensities; background outside the body.

    Args:
        image: (X, Y, Z) in [0, 1].
        votes: (1 + K, X, Y, Z) probabilities of place, background first.
        body: (X, Y, Z) bool.
        spacing_mm: voxel size along X, Y, Z.
        rounds: 0 leaves the votes as they are inside the body.
    """
    width = [SMOOTHING_MM / step for step in spacing_mm]
    bins = np.clip((ndimage.gaussian_filter(image, width) * BINS).astype(int), 0, BINS - 1)
    heard = votes[1:].max(axis=0) > NEAR_VOTE
    near = body & (ndimage.distance_transform_edt(~heard, sampling=spacing_mm) <= NEAR_MM) if heard.any() else body
    posterior = _in_body(votes, body)
    for _ in range(rounds):
        likelihood = np.stack([_likelihood(bins, share * near) for share in posterior])
        found = votes * likelihood
        found = _in_body(found / found.sum(axis=0, keepdims=True), body)
        posterior = np.stack([ndimage.gaussian_filter(share, width) for share in found])
    return posterior


def _likelihood(bins: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """How often each voxel's intensity occurs in a class whose voxels have these weights."""
    counts = ndimage.gaussian_filter1d(np.bincount(bins.ravel(), weights.ravel(), BINS), HISTOGRAM_SMOOTHING)
    counts += FLOOR * counts.sum() + np.finfo(np.float32).tiny
    return (counts / counts.sum())[bins]


def _in_body(probabilities: np.ndarray, body: np.ndarray) -> np.ndarray:
    result = probabilities * body
    result[0] += ~body
    return result
