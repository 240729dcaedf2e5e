"""Every voxel goes to the class whose seeds are geodesically nearest (GeoS step of the paper)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from scripts.common.boxes import box_of
from scripts.common.sampling import at_borders, at_corners, finer_slabs, sample_at
from scripts.data.reading.grid_limits import available_memory
from scripts.pseudo_labels.geodesic_distance import geodesic_distance
from scripts.pseudo_labels.settings import GeodesicSettings


class NearestClass(NamedTuple):
    """At each voxel the nearest class and the next one.

    Attributes:
        label: (X, Y, Z) uint8 channel of the nearest, the first of equals.
        nearest: (X, Y, Z) its distance.
        second: (X, Y, Z) distance of the next one; infinite where there is but one.
    """

    label: np.ndarray
    nearest: np.ndarray
    second: np.ndarray


def class_distances(
    image: np.ndarray,
    seeds: np.ndarray,
    spacing_mm: Sequence[float],
    settings: GeodesicSettings,
    device: torch.device | str | None = None,
) -> np.ndarray:
    """Geodesic distance to each class's seeds, (K + 1, X, Y, Z) float32 up to the truncation, background first.

    The distance to each class is cut at `truncation` T; the affinity is 1 - distance / T; the class of the highest
    affinity wins (see `nearest_class`). Background wins ties with it and where nothing is near; of classes that tie,
    the first wins. A class without a seed is T away from everything.

    Args:
        image: (X, Y, Z) in [0, 1], or with further channels, (C, X, Y, Z).
        seeds: (K + 1, X, Y, Z) bool, background first.
        spacing_mm: voxel size along X, Y, Z.
        settings: see `GeodesicSettings`.
        device: where the distances are computed.

    Raises:
        BundleError: as `geodesic_distance`.
        MemoryError: less is free than the distances take.
    """
    x, y, z = open_box(seeds)
    _check_memory(seeds.shape, seeds[0, x, y, z].shape)
    inside = geodesic_distance(
        image[..., x, y, z],
        seeds[:, x, y, z],
        spacing_mm,
        lam=settings.lam,
        max_iterations=settings.max_iterations,
        truncation=settings.truncation,
        tolerance=settings.tolerance_share * settings.truncation,
        backend=settings.geodesic_backend,
        device=device,
    )
    distances = np.full(tuple(seeds.shape), settings.truncation, dtype=np.float32)
    distances[0] = 0.0
    distances[:, x, y, z] = inside.clamp_(max=settings.truncation).cpu().numpy()
    return distances


def _check_memory(shape: Sequence[int], box: Sequence[int]) -> None:
    """Distances of (K + 1, X, Y, Z) voxels, and two more of the box: a system that runs out of it kills without a word.

    Raises:
        MemoryError: see `class_distances`.
    """
    channels, *grid = shape
    needed, free = 4 * channels * (math.prod(grid) + 2 * math.prod(box)), available_memory()
    if needed > free:
        size, most, left = " x ".join(map(str, grid)), f"{needed / 1e9:.1f} GB", f"{free / 1e9:.1f} GB"
        raise MemoryError(f"{channels - 1} classes on {size} voxels take more than {most}, {left} are free")


def open_box(seeds: np.ndarray) -> tuple[slice, ...]:
    """Box, with a rim of one, around every voxel that is no background seed of (1 + K, X, Y, Z) bool seeds.

    Beyond it there are background seeds only. A way out of the box and back passes one, and from there on background is
    at least as near as the class: labels need no look beyond.
    """
    everything = tuple(slice(0, size) for size in seeds.shape[1:])
    return box_of(~np.asarray(seeds[0], dtype=bool), margins=(1, 1, 1)) or everything


def nearest_class(distances: Iterable[np.ndarray]) -> NearestClass:
    """Of (X, Y, Z) distances, one a channel, of which one at a time needs to exist."""
    remaining = iter(distances)
    nearest = next(remaining).copy()
    label = np.zeros(nearest.shape, dtype=np.uint8)
    second = np.full_like(nearest, np.inf)
    for channel, distance in enumerate(remaining, start=1):
        np.minimum(second, np.maximum(nearest, distance), out=second)
        closer = distance < nearest
        label[closer] = channel
        nearest[closer] = distance[closer]
    return NearestClass(label, nearest, second)


def finer_label(
    distances: np.ndarray, to_coarse: np.ndarray, shape: tuple[int, int, int], margin: float, truncation: float
) -> tuple[np.ndarray, np.ndarray]:
    """(X, Y, Z) uint8 nearest channels on a finer grid, and the places in it, flat, where two are nearly as near.

    Distances are interpolated near borders alone: where all corners around a voxel agree, it has their class.

    Args:
        distances: (K + 1, x, y, z), background first.
        to_coarse: (4, 4) map from the finer grid's voxels to theirs; axes are parallel.
        shape: of the finer grid.
        margin: two distances nearer to each other are nearly as near; 0 is none.
        truncation: of the distances; where nothing is nearer, nothing is claimed.
    """
    coarse = nearest_class(distances)
    doubtful = at_borders(coarse.label)
    if margin:
        doubtful |= at_corners((coarse.second - coarse.nearest < margin) & (coarse.nearest < truncation))
    places = [
        np.clip(to_coarse[axis, axis] * np.arange(size) + to_coarse[axis, 3], 0, distances.shape[axis + 1] - 1)
        for axis, size in enumerate(shape)
    ]
    label = np.zeros(shape, dtype=np.uint8)
    undecided = [np.empty(0, dtype=int)]
    for slab in finer_slabs(coarse.label, doubtful, places):
        part = label[slab.box]
        part[...] = slab.label
        nearest = nearest_class(sample_at(distance, slab.at) for distance in distances)
        part[slab.looked] = nearest.label
        if margin:
            close = (nearest.second - nearest.nearest < margin) & (nearest.nearest < truncation)
            voxels = [index[close] + side.start for index, side in zip(slab.looked, slab.box, strict=True)]
            undecided.append(np.ravel_multi_index(voxels, shape))
    return label, np.concatenate(undecided)
