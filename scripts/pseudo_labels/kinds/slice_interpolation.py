"""Strokes between the slices that they were drawn on: the distance to them, interpolated from slice to slice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage


def interpolated_distance_mm(strokes: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """In-plane distance to where a class's strokes would lie on each slice; (X, Y, Z) float32, infinite beyond.

    Between two stroked slices the strokes' centre moves along a straight line and the distance to the one becomes the
    distance to the other. Strokes are spread over an organ, so that half a gap is left beyond the first and the last:
    up to there the centre goes on as it went. A class that was drawn on one slice ends on it.

    Args:
        strokes: (X, Y, Z) bool, drawn in planes across the third axis, at least one true.
        spacing_mm: voxel size along X, Y, Z.
    """
    drawn = np.flatnonzero(strokes.any(axis=(0, 1)))
    centres = [np.argwhere(strokes[:, :, z]).mean(axis=0) for z in drawn]
    planes = [ndimage.distance_transform_edt(~strokes[:, :, z], sampling=spacing_mm[:2]) for z in drawn]
    result = np.full(strokes.shape, np.inf, dtype=np.float32)
    for plane, stroked in zip(planes, drawn, strict=True):
        result[:, :, stroked] = plane
    for index in range(len(drawn) - 1):
        start, stop = int(drawn[index]), int(drawn[index + 1])
        way = centres[index + 1] - centres[index]
        for between in range(start + 1, stop):
            share = (between - start) / (stop - start)
            before = _moved(planes[index], share * way)
            mixed = (1 - share) * before + share * _moved(planes[index + 1], (share - 1) * way)
            result[:, :, between] = mixed - mixed.min()
    if len(drawn) > 1:
        beyond = half_gap_slices(drawn)
        for end, inner in ((0, 1), (-1, -2)):
            slope = (centres[end] - centres[inner]) / abs(int(drawn[end]) - int(drawn[inner]))
            for away in range(1, beyond + 1):
                beside = int(drawn[end]) + (away if end else -away)
                if 0 <= beside < strokes.shape[2]:
                    result[:, :, beside] = _moved(planes[end], away * slope)
    return result


def found_again_share(strokes: np.ndarray, limit_mm: float, spacing_mm: Sequence[float]) -> float:
    """Share of the strokes on inner slices that lie within a limit of where the other slices' strokes put them.

    Args:
        strokes: (X, Y, Z) bool, drawn in planes across the third axis.
        limit_mm: in the plane.
        spacing_mm: voxel size along X, Y, Z.

    Returns:
        The mean over the inner slices; 0 if there is none.
    """
    shares = []
    for left_out in np.flatnonzero(strokes.any(axis=(0, 1)))[1:-1].tolist():
        others = strokes.copy()
        others[:, :, left_out] = False
        away_mm = interpolated_distance_mm(others, spacing_mm)[:, :, left_out]
        shares.append(float((away_mm[strokes[:, :, left_out]] <= limit_mm).mean()))
    return float(np.mean(shares)) if shares else 0.0


def half_gap_slices(drawn: np.ndarray) -> int:
    """Half the mean number of slices between two stroked ones, of (N,) sorted slices; none of a single one."""
    return round(float(drawn[-1] - drawn[0]) / (len(drawn) - 1) / 2) if len(drawn) > 1 else 0


def _moved(plane: np.ndarray, voxels: np.ndarray) -> np.ndarray:
    """A plane's content moved by a fraction of voxels; what comes in is the rim."""
    return np.asarray(ndimage.shift(plane, voxels, order=1, mode="nearest"))
