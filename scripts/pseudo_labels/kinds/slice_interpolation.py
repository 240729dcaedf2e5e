"""Strokes between the slices that they were drawn on: the distance to them, interpolated from slice to slice."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from scipy import ndimage

from scripts.common.overlap import dice_of


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
    ways = [following - centre for centre, following in itertools.pairwise(centres)]
    for between, mixed in _between(planes, drawn, ways):
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


def interpolated_depth_mm(painted: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """In-plane depth in an organ that was painted whole on some slices; (X, Y, Z) float32, negative outside it.

    Between two painted slices the one's depth becomes the other's (shape-based interpolation, Raya and Udupa 1990), its
    centre moving along a straight line where the shapes fit better so; one part that ends between them does not move
    the others. Beyond the first and the last slice the organ closes within half a gap, and at 45 degrees at least;
    farther on depth is minus infinity.

    Args:
        painted: (X, Y, Z) bool, in planes across the third axis, at least one true.
        spacing_mm: voxel size along X, Y, Z.
    """
    drawn = np.flatnonzero(painted.any(axis=(0, 1)))
    shapes = [painted[:, :, z] for z in drawn]
    planes = [signed_depth_mm(shape, spacing_mm) for shape in shapes]
    result = np.full(painted.shape, -np.inf, dtype=np.float32)
    for plane, z in zip(planes, drawn, strict=True):
        result[:, :, z] = plane
    ways = [_way(shape, following) for shape, following in itertools.pairwise(shapes)]
    for between, mixed in _between(planes, drawn, ways):
        result[:, :, between] = mixed
    beyond = half_gap_slices(drawn)
    for end, step in ((0, -1), (-1, 1)):
        deepest_mm = float(planes[end].max())
        for away in range(1, beyond + 1):
            beside = int(drawn[end]) + step * away
            if 0 <= beside < painted.shape[2]:
                closed_mm = max(away * spacing_mm[2], deepest_mm * away / (beyond + 1))
                result[:, :, beside] = planes[end] - closed_mm
    return result


def signed_depth_mm(shape: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """Of (X, Y) bool: to the nearest voxel outside or beyond the plane, negative to the nearest inside."""
    inside = np.asarray(ndimage.distance_transform_edt(np.pad(shape, 1), sampling=spacing_mm[:2]))[1:-1, 1:-1]
    return inside - np.asarray(ndimage.distance_transform_edt(~shape, sampling=spacing_mm[:2]))


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


def _between(
    planes: Sequence[np.ndarray], drawn: np.ndarray, ways: Sequence[np.ndarray]
) -> Iterator[tuple[int, np.ndarray]]:
    """Each slice between two drawn ones, and the two planes mixed by its place; `ways`: voxels from one to the next."""
    for index, way in enumerate(ways):
        start, stop = int(drawn[index]), int(drawn[index + 1])
        for between in range(start + 1, stop):
            share = (between - start) / (stop - start)
            before = _moved(planes[index], share * way)
            yield between, (1 - share) * before + share * _moved(planes[index + 1], (share - 1) * way)


def _way(shape: np.ndarray, following: np.ndarray) -> np.ndarray:
    """Voxels from the one (X, Y) bool shape to the other, between their centres; none if they fit better in place."""
    way = np.argwhere(following).mean(axis=0) - np.argwhere(shape).mean(axis=0)
    moved = ndimage.shift(shape.astype(np.uint8), np.round(way), order=0) > 0
    return way if dice_of(moved, following) > dice_of(shape, following) else np.zeros(2)


def _moved(plane: np.ndarray, voxels: np.ndarray) -> np.ndarray:
    """A plane's content moved by a fraction of voxels; what comes in is the rim."""
    return np.asarray(ndimage.shift(plane, voxels, order=1, mode="nearest"))
