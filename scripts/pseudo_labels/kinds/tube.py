"""Growers of thin organs: around their strokes interpolated across slices, by intensity, and by geodesic distance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from scripts.common.boxes import box_of
from scripts.pseudo_labels.geodesic_distance import geodesic_distance
from scripts.pseudo_labels.kinds.radial_profile import inside_share

BINS, SMOOTHING_BINS, FLOOR_SHARE = 64, 1.5, 1e-3  # of the histograms over intensities in [0, 1]
ROUNDS, TOLERANCE, TRUNCATION = 16, 0.001, 1.0  # of the geodesic distance: the box is small


def by_intensity(
    image: np.ndarray,
    strokes: np.ndarray,
    away_mm: np.ndarray,
    reach_mm: float,
    spacing_mm: Sequence[float],
    limit_mm: float,
) -> np.ndarray:
    """(X, Y, Z) float32 probability of a class, from the distance to its strokes and the voxel's intensity.

    Its intensities are those within half its reach on the slices with strokes, its surroundings' those of the ring
    from one and a half to three times its reach.

    Args:
        image: (X, Y, Z) in [0, 1].
        strokes: (X, Y, Z) bool, drawn in planes across the third axis.
        away_mm: (X, Y, Z) distance to the strokes, interpolated across slices.
        reach_mm: from the strokes to the border.
        spacing_mm: voxel size along X, Y, Z.
        limit_mm: the ring is at least this wide.
    """
    drawn = strokes.any(axis=(0, 1))
    core, ring = strokes.copy(), np.zeros_like(strokes)
    for z in np.flatnonzero(drawn):
        plane = ndimage.distance_transform_edt(~strokes[:, :, z], sampling=spacing_mm[:2])
        core[:, :, z] = plane <= reach_mm / 2
        ring[:, :, z] = (plane > 1.5 * reach_mm) & (plane <= max(3 * reach_mm, limit_mm))
    bins = np.clip((image * BINS).astype(int), 0, BINS - 1)
    prior = inside_share(away_mm, reach_mm)
    own = prior * _histogram(bins[core])[bins]
    joint = own + (1 - prior) * _histogram(bins[ring])[bins]
    return (own / joint).astype(np.float32)


def by_geodesic_distance(
    image: np.ndarray,
    certain: np.ndarray,
    outside: np.ndarray,
    spacing_mm: Sequence[float],
) -> np.ndarray:
    """(X, Y, Z) bool: what is geodesically nearer to what is certain than to what is outside.

    Args:
        image: (X, Y, Z) in [0, 1].
        certain: (X, Y, Z) bool, of the class.
        outside: (X, Y, Z) bool, not of the class.
        spacing_mm: voxel size along X, Y, Z.
    """
    grown = np.zeros_like(certain)
    if (box := box_of(~outside | certain, margins=1)) is None:
        return grown
    seeds = np.stack([outside[box] & ~certain[box], certain[box]])
    distance = geodesic_distance(
        np.ascontiguousarray(image[box]),
        seeds,
        spacing_mm,
        max_iterations=ROUNDS,
        tolerance=TOLERANCE,
        truncation=TRUNCATION,
    )
    grown[box] = (distance[1] < distance[0]).numpy()
    return grown


def _histogram(bins: np.ndarray) -> np.ndarray:
    """(BINS,) smooth frequencies, none of them zero."""
    counts = ndimage.gaussian_filter1d(np.bincount(bins.ravel(), minlength=BINS).astype(float), SMOOTHING_BINS)
    counts += FLOOR_SHARE * counts.sum() + np.finfo(np.float32).tiny
    return np.asarray(counts / counts.sum())
