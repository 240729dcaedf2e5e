"""Scribbles as points: reading them, thinning them evenly, drawing them into a volume."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scripts.common.affines import nearest_voxels, to_voxels, to_world
from scripts.data.volume_io import read_labels

BACKGROUND = "background"


@dataclass(frozen=True)
class ScribblePoints:
    """N scribble points of the support.

    Attributes:
        labels: (N,) class values, 0 for background.
        voxels: (N, 3) voxel indices on the support's own grid.
        world_mm: (N, 3) world positions in mm.
    """

    labels: np.ndarray
    voxels: np.ndarray
    world_mm: np.ndarray


def read_scribble_points(
    path: str | Path, classes: Mapping[str, int], class_limit: int | None = None, background_limit: int | None = None
) -> ScribblePoints:
    """Points of the named classes; every other stroke counts as background.

    Args:
        path: scribble map on the support's grid.
        classes: name -> scribble value.
        class_limit: at most this many points per class, evenly thinned along its strokes; None takes all.
        background_limit: the same for background.
    """
    scribbles = read_labels(path)
    voxels = np.argwhere(scribbles.array > 0)
    values = scribbles.array[tuple(voxels.T)].astype(int)
    labels = np.where(np.isin(values, list(classes.values())), values, 0)
    world_mm = to_world(voxels, scribbles.affine)
    chosen = []
    for value in [*classes.values(), 0]:
        members = np.flatnonzero(labels == value)
        limit = background_limit if value == 0 else class_limit
        chosen.append(members[thin(world_mm[members], limit)])
    order = np.concatenate(chosen)
    return ScribblePoints(labels[order], voxels[order], world_mm[order])


def thin(points_mm: np.ndarray, limit: int | None) -> np.ndarray:
    """Indices of at most `limit` points spread evenly (farthest-point sampling from the first point), ascending."""
    count = len(points_mm)
    if limit is None or count <= limit:
        return np.arange(count)
    distance_mm = np.full(count, np.inf)
    chosen = [0]
    while len(chosen) < limit:
        distance_mm = np.minimum(distance_mm, np.linalg.norm(points_mm - points_mm[chosen[-1]], axis=1))
        chosen.append(int(distance_mm.argmax()))
    return np.sort(chosen)


def draw_points(
    world_mm: np.ndarray, values: np.ndarray, order: np.ndarray, affine: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    """Label volume (X, Y, Z) uint8 with one voxel per point.

    Args:
        world_mm: (N, 3) positions.
        values: (N,) value to write.
        order: (N,) drawing priority; where points share a voxel, the highest stays.
        affine: of the volume.
        shape: of the volume.
    """
    volume = np.zeros(shape, dtype=np.uint8)
    ranked = np.argsort(order, kind="stable")
    voxels = nearest_voxels(to_voxels(world_mm[ranked], affine), shape)
    for voxel, value in zip(voxels, values[ranked], strict=True):  # in order, so that the last one wins
        volume[tuple(voxel)] = value
    return volume
