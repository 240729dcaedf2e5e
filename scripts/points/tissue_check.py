"""Tissue check: a point of an organ must be located in tissue that looks like the organ under its own strokes.

An addition to the paper's denoising. Geodesic masks need it: one point that strayed into lung or fat, where intensity
hardly varies, claims all of it at no cost.
"""

from __future__ import annotations

import numpy as np

STROKE_PERCENTILES = (2.0, 98.0)


def local_intensities(image: np.ndarray, voxels: np.ndarray) -> np.ndarray:
    """Median of the 3 x 3 x 3 voxels around each place, (N,): noise and partial volume weigh little.

    Args:
        image: (X, Y, Z) in [0, 1] (see `normalise_hu`).
        voxels: (N, 3) integer voxels inside the image.
    """
    padded = np.pad(image, 1, mode="edge")
    steps = np.stack(np.meshgrid(*3 * [np.arange(3)], indexing="ij"), axis=-1).reshape(-1, 3)
    around = voxels[:, None] + steps
    return np.median(padded[tuple(np.moveaxis(around, -1, 0))], axis=1)


def tissue_misfits(labels: np.ndarray, support_intensities: np.ndarray, intensities: np.ndarray) -> np.ndarray:
    """How far each point's intensity lies outside the range of its class's strokes on the support, (N,); 0 inside.

    The range spans the 2nd to the 98th percentile. Background is many tissues: its points never misfit.

    Args:
        labels: (N,) class values, 0 for background.
        support_intensities: (N,) around the support points, in [0, 1].
        intensities: (N,) where they were located.
    """
    misfits = np.zeros(len(labels))
    for label in np.unique(labels[labels != 0]):
        ours = labels == label
        low, high = np.percentile(support_intensities[ours], STROKE_PERCENTILES)
        misfits[ours] = np.maximum(low - intensities[ours], intensities[ours] - high).clip(min=0)
    return misfits
