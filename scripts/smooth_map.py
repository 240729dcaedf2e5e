"""A smooth anatomical map between two bodies, fitted to matched points of which many are wrong (mode `default`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

ITERATIONS = 30
CAUCHY_SCALE_MM = 15.0  # residuals above weigh little
NEIGHBOURS = 25


@dataclass(frozen=True)
class SmoothMap:
    """Affine part plus the median residual of the nearest matched points.

    Attributes:
        matrix, shift_mm: affine part, place -> matrix @ place + shift_mm.
        places_mm: (N, 3) matched points in the first body.
        residuals_mm: (N, 3) what the affine part leaves at them.
    """

    matrix: np.ndarray
    shift_mm: np.ndarray
    places_mm: np.ndarray
    residuals_mm: np.ndarray

    def __call__(self, places_mm: np.ndarray) -> np.ndarray:
        """Where places of the first body, (M, 3), lie in the second."""
        affine = places_mm @ self.matrix.T + self.shift_mm
        count = min(NEIGHBOURS, len(self.places_mm))
        _, nearest = cKDTree(self.places_mm).query(places_mm, k=count)
        return affine + np.median(self.residuals_mm[nearest.reshape(len(places_mm), count)], axis=1)


def fit_smooth_map(places_mm: np.ndarray, matched_mm: np.ndarray) -> SmoothMap:
    """Fit to matches, robustly: a third of them may be wrong.

    The affine part is found by iteratively re-weighted least squares with Cauchy weights, started from the median
    shift; residuals are kept as they are, and their local medians ignore the wrong ones.

    Args:
        places_mm: (N, 3) in the first body, N at least 4.
        matched_mm: (N, 3) in the second.

    Raises:
        ValueError: too few matches for an affine map.
    """
    if len(places_mm) < 4:
        raise ValueError(f"an affine map needs at least 4 matched points, got {len(places_mm)}")
    middle = np.median(places_mm, axis=0)
    homogeneous = np.column_stack([places_mm - middle, np.ones(len(places_mm))])
    fitted = np.vstack([np.eye(3), middle + np.median(matched_mm - places_mm, axis=0)])
    scale_mm = 4 * CAUCHY_SCALE_MM  # wide at first: bodies differ in size
    for _ in range(ITERATIONS):
        distance = np.linalg.norm(matched_mm - homogeneous @ fitted, axis=1)
        weight = 1 / (1 + (distance / scale_mm) ** 2)
        fitted = np.linalg.lstsq(homogeneous * weight[:, None] ** 0.5, matched_mm * weight[:, None] ** 0.5, rcond=None)[
            0
        ]
        scale_mm = max(CAUCHY_SCALE_MM, 0.8 * scale_mm)
    matrix = fitted[:3].T
    return SmoothMap(matrix, fitted[3] - matrix @ middle, places_mm, matched_mm - homogeneous @ fitted)
