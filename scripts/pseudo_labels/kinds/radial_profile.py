"""How far an organ reaches around its strokes, read off the intensities in the slices that were drawn on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.special import expit

SHARPNESS = 4.0  # borders blur over a quarter of the reach: organs are no circles around their strokes
CANDIDATES = 60


@dataclass(frozen=True)
class RadialProfile:
    """A class around its strokes, in the plane they are drawn in.

    Attributes:
        reach_mm: from the strokes to the border.
        outside_share: of what lies beyond looks like the class all the same.
    """

    reach_mm: float
    outside_share: float


def radial_profile(
    alike: np.ndarray, strokes: np.ndarray, spacing_mm: Sequence[float], limit_mm: float
) -> RadialProfile:
    """The reach that best explains how the share of voxels that look like the class falls with distance.

    Around the strokes all voxels look like the class, beyond its border those of its surroundings that happen to. The
    share of a whole ring is no victim of noise, as the way to the next voxel that looks different is.

    Args:
        alike: (X, Y, Z) bool, what looks like the class.
        strokes: (X, Y, Z) bool, drawn in planes across the third axis, at least one true.
        spacing_mm: voxel size along X, Y, Z.
        limit_mm: rings up to here count, each by one over its distance.
    """
    step_mm = min(spacing_mm[0], spacing_mm[1])
    rings = int(limit_mm / step_mm) + 1
    counts, same = np.zeros(rings + 1), np.zeros(rings + 1)
    for z in np.flatnonzero(strokes.any(axis=(0, 1))):
        away = ndimage.distance_transform_edt(~strokes[:, :, z], sampling=spacing_mm[:2])
        ring = np.minimum((away / step_mm + 0.5).astype(int), rings).ravel()
        counts += np.bincount(ring, minlength=rings + 1)
        same += np.bincount(ring, alike[:, :, z].ravel(), rings + 1)
    seen = np.flatnonzero(counts[:rings])
    return _best_fit(seen * step_mm, same[seen] / counts[seen], step_mm, limit_mm)


def alike_range(values: np.ndarray, noise: float) -> tuple[float, float]:
    """Intensities that look like those under strokes: all but their outermost, and half a standard deviation more.

    Args:
        values: (N,) under the strokes.
        noise: their standard deviation is at least this: a few voxels may agree by chance.
    """
    margin = max(float(values.std()), noise) / 2
    low, high = np.percentile(values, [2, 98])
    return float(low) - margin, float(high) + margin


def inside_share(away_mm: np.ndarray, reach_mm: float) -> np.ndarray:
    """Share of the voxels so far from the strokes, any shape, that are of the class: one half at its reach."""
    return expit(SHARPNESS * (1 - away_mm / reach_mm))


def _best_fit(away_mm: np.ndarray, alike_share: np.ndarray, step_mm: float, limit_mm: float) -> RadialProfile:
    """Least squares over the reach, with the best share outside for each."""
    weight = 1 / (away_mm + step_mm / 2)
    fits = []
    for reach_mm in np.geomspace(step_mm / 2, limit_mm, CANDIDATES):
        inside = inside_share(away_mm, reach_mm) / expit(SHARPNESS)
        outside = float((weight * (alike_share - inside) * (1 - inside)).sum())
        outside = min(max(outside / max((weight * (1 - inside) ** 2).sum(), 1e-9), 0.0), 1.0)
        error = float((weight * (alike_share - outside - (1 - outside) * inside) ** 2).sum())
        fits.append((error, float(reach_mm), outside))
    _, reach, share = min(fits)
    return RadialProfile(reach, share)
