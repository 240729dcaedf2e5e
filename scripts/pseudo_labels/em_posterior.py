"""Class probabilities made sharper by the case's own intensities: they know the place, intensities the border.

Each class's intensities are learnt from the case itself, where the probabilities put the class, by a few rounds of
expectation and maximisation (Van Leemput et al., IEEE TMI 1999, with label fusion in the atlas's place).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from scripts.pseudo_labels.settings import EMSettings


def em_posterior(
    image: np.ndarray,
    probabilities: np.ndarray,
    body: np.ndarray,
    spacing_mm: Sequence[float],
    settings: EMSettings,
) -> np.ndarray:
    """Class probabilities (1 + K, X, Y, Z) from place and intensities; background outside the body.

    Args:
        image: (X, Y, Z) in [0, 1].
        probabilities: (1 + K, X, Y, Z) probabilities of place, background first.
        body: (X, Y, Z) bool.
        spacing_mm: voxel size along X, Y, Z.
        settings: see `EMSettings`.
    """
    width = [settings.em_smoothing_mm / step for step in spacing_mm]
    bins = _bins_of(ndimage.gaussian_filter(image, width), settings.em_bins)
    near = _near_classes(probabilities, body, spacing_mm, settings)
    posterior = _in_body(probabilities, body)
    for _ in range(settings.em_rounds):
        if settings.em_reach_mm:
            background = local_likelihood(bins, posterior[0] * body, spacing_mm, settings)
        else:
            background = likelihood(bins, posterior[0] * near, settings)
        classes = (likelihood(bins, share * near, settings) for share in posterior[1:])
        joint = probabilities * np.stack([background, *classes])
        expected = _in_body(joint / joint.sum(axis=0, keepdims=True), body)
        posterior = np.stack([ndimage.gaussian_filter(share, width) for share in expected])
    return posterior


def likelihood(bins: np.ndarray, weights: np.ndarray, settings: EMSettings) -> np.ndarray:
    """How often each voxel's intensity occurs in a class whose voxels have these weights.

    Args:
        bins: (X, Y, Z) integer bin of each voxel's intensity.
        weights: (X, Y, Z).
        settings: see `EMSettings`.
    """
    counts = np.bincount(bins.ravel(), weights.ravel(), settings.em_bins)
    counts = ndimage.gaussian_filter1d(counts, settings.em_histogram_smoothing_bins)
    counts += settings.em_floor_share * counts.sum() + np.finfo(np.float32).tiny
    return (counts / counts.sum())[bins]


def local_likelihood(
    bins: np.ndarray, weights: np.ndarray, spacing_mm: Sequence[float], settings: EMSettings
) -> np.ndarray:
    """As `likelihood`, among the voxels around each place."""
    reach_mm, bin_count = settings.em_reach_mm, settings.em_bins
    steps = [max(round(reach_mm / settings.em_cells_per_reach / step), 1) for step in spacing_mm]
    cells = [-(-size // step) for size, step in zip(bins.shape, steps, strict=True)]
    places = (np.arange(size) // step for size, step in zip(bins.shape, steps, strict=True))
    cell = np.ravel_multi_index(np.ix_(*places), cells)
    counts = np.bincount((cell * bin_count + bins).ravel(), weights.ravel(), np.prod(cells) * bin_count)
    counts = counts.reshape(*cells, bin_count)
    width = [reach_mm / (step * size) for step, size in zip(steps, spacing_mm, strict=True)]
    counts = ndimage.gaussian_filter(counts, [*width, settings.em_histogram_smoothing_bins], mode="constant")
    whole = counts.sum(axis=(0, 1, 2))
    whole += settings.em_floor_share * whole.sum() + np.finfo(np.float32).tiny
    counts += settings.em_whole_share * np.prod(steps) * whole / whole.sum()
    counts /= counts.sum(axis=-1, keepdims=True)
    return counts.reshape(-1, bin_count)[cell, bins]


def _bins_of(image: np.ndarray, bin_count: int) -> np.ndarray:
    return np.clip((image * bin_count).astype(int), 0, bin_count - 1)


def _near_classes(
    probabilities: np.ndarray, body: np.ndarray, spacing_mm: Sequence[float], settings: EMSettings
) -> np.ndarray:
    """(X, Y, Z) bool: the part of the body around the classes; all of it where there is no class."""
    likely = probabilities[1:].max(axis=0) > settings.em_near_probability
    if not likely.any():
        return body
    return body & (ndimage.distance_transform_edt(~likely, sampling=spacing_mm) <= settings.em_near_mm)


def _in_body(probabilities: np.ndarray, body: np.ndarray) -> np.ndarray:
    result = probabilities * body
    result[0] += ~body
    return result
