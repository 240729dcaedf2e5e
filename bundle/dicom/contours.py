"""A mask of one slice as closed contours, holes joined to their outline by a keyhole."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.measure import find_contours


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Contours of an (X, Y) bool mask: one for each part that is connected through voxels' sides.

    They run between the centres of voxels inside and outside, so that the centres within them by the even-odd rule are
    exactly the mask. A hole is joined by a channel of no width that is walked there and back (the keyhole of the DICOM
    standard).

    Returns:
        (N, 2) voxel coordinates each, not repeating the first point.
    """
    if not mask.any():
        return []
    padded = np.pad(mask, 1)
    parts, count = ndimage.label(padded)
    rings: list[list[np.ndarray]] = [[] for _ in range(count)]
    for ring in find_contours(padded.astype(np.float32), 0.5, fully_connected="low"):
        rings[_part_of(ring[0], parts) - 1].append(_corners(ring[:-1]))
    return [_with_holes(sorted(of_part, key=_area, reverse=True)) - 1 for of_part in rings]


def _part_of(point: np.ndarray, parts: np.ndarray) -> int:
    """A point of a contour lies between a voxel of its part and one outside."""
    inside, other = np.floor(point).astype(int), np.ceil(point).astype(int)
    return int(parts[tuple(inside)] or parts[tuple(other)])


def _area(ring: np.ndarray) -> float:
    after = np.roll(ring, -1, axis=0)
    return abs(float(np.sum(ring[:, 0] * after[:, 1] - ring[:, 1] * after[:, 0]))) / 2


def _corners(ring: np.ndarray) -> np.ndarray:
    """The ring without the points in the middle of straight lines."""
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    return np.asarray(ring[np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]) > 1e-9])


def _with_holes(rings: list[np.ndarray]) -> np.ndarray:
    """The first ring, and at its point that is nearest to each other ring the way to that one, round it and back."""
    outline, *holes = rings
    if not holes:
        return outline
    tree = cKDTree(outline)
    ways: dict[int, list[np.ndarray]] = {}
    for hole in holes:
        distances, places = tree.query(hole)
        start = int(np.argmin(distances))
        turned = np.roll(hole, -start, axis=0)
        place = int(places[start])
        ways.setdefault(place, []).append(np.concatenate([turned, turned[:1], outline[place : place + 1]]))
    pieces = [np.concatenate([outline[n : n + 1], *ways.get(n, [])]) for n in range(len(outline))]
    return np.concatenate(pieces)
