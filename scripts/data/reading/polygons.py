"""Contours of one slice as voxels: closed ones filled by the even-odd rule, open ones drawn."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

STEP_VOXELS = 0.25  # along an open contour; no voxel on its way is passed over by more than a corner


def filled(polygons: Sequence[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """(X, Y) bool: voxels whose centre lies within an odd number of polygons.

    So a contour within another one is a hole, and a channel that is walked there and back adds nothing: both of its
    edges cross a row at exactly the same place.

    Args:
        polygons: (N, 2) voxel coordinates each, closed from the last point to the first.
        shape: X, Y.
    """
    columns, rows = shape
    crossings = np.zeros((columns + 1, rows), np.int64)
    for points in polygons:
        after = np.roll(points, -1, axis=0)
        upwards = (points[:, 1] <= after[:, 1])[:, None]
        low, high = np.where(upwards, points, after), np.where(upwards, after, points)
        first, end = (np.clip(np.ceil(ends[:, 1]), 0, rows).astype(int) for ends in (low, high))
        counts = end - first  # rows from the lower end on, without the upper one: neighbours share none
        edge = np.repeat(np.arange(len(points)), counts)
        row = first[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts)
        rise = (high - low)[edge]
        column = low[edge, 0] + (row - low[edge, 1]) * rise[:, 0] / rise[:, 1]
        np.add.at(crossings, (np.clip(np.ceil(column), 0, columns).astype(int), row), 1)
    return np.asarray(np.cumsum(crossings[:-1], axis=0) % 2 == 1)


def drawn(line: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(X, Y) bool: voxels that a line through (N, 2) voxel coordinates passes; those outside are left out."""
    places = [line[:1]]
    for start, end in itertools.pairwise(line):
        count = max(1, int(np.ceil(np.linalg.norm(end - start) / STEP_VOXELS)))
        places.append(start + (end - start) * np.linspace(0, 1, count + 1)[1:, None])
    voxels = np.rint(np.concatenate(places)).astype(int)
    voxels = voxels[np.all((voxels >= 0) & (voxels < shape), axis=1)]
    mask = np.zeros(shape, bool)
    mask[tuple(voxels.T)] = True
    return mask
