"""Class probabilities of a case's voxels: as files, and on another grid (mode `default`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scripts.common.affines import between_grids, between_parallel_grids
from scripts.common.files import read_result, write_nifti
from scripts.common.sampling import onto_grid

FULL_PROBABILITY = 255  # probabilities are stored as bytes


@dataclass(frozen=True)
class ClassProbabilities:
    """Class probabilities (1 + K, X, Y, Z), background first, and their (4, 4) affine, canonical."""

    array: np.ndarray
    affine: np.ndarray


def read_probabilities(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Class probabilities (1 + K, x, y, z) in [0, 1], background first, and their (4, 4) affine.

    Raises:
        BundleError: the file is missing or damaged.
    """
    stored, affine = read_result(path)
    return np.moveaxis(stored.astype(np.float32), -1, 0) / FULL_PROBABILITY, affine


def write_probabilities(path: str | Path, probabilities: np.ndarray, affine: np.ndarray) -> None:
    """Store (1 + K, x, y, z) class probabilities on the grid of `affine`, as `read_probabilities` reads them."""
    write_nifti(path, np.moveaxis((probabilities * FULL_PROBABILITY).round().astype(np.uint8), 0, -1), affine)


def probabilities_on_grid(
    probabilities: np.ndarray,
    probabilities_affine: np.ndarray,
    affine: np.ndarray,
    shape: Sequence[int],
    parallel: bool = True,
) -> np.ndarray:
    """(1 + K, X, Y, Z) class probabilities on the grid of `affine` and `shape`, linear; beyond their own, background.

    Args:
        probabilities: (1 + K, x, y, z), background first.
        probabilities_affine: (4, 4) of their grid.
        affine: (4, 4) of the new grid.
        shape: of the new grid.
        parallel: its axes are parallel to theirs, and each is resampled by itself, which is faster.

    Raises:
        ValueError: `parallel`, and they are not.
    """
    if parallel:
        to_theirs = between_parallel_grids(affine, probabilities_affine, shape)
    else:
        to_theirs = between_grids(affine, probabilities_affine)
    outside = [1.0, *[0.0] * (len(probabilities) - 1)]
    finer = np.empty((len(probabilities), *shape), dtype=probabilities.dtype)
    for channel, value, result in zip(probabilities, outside, finer, strict=True):
        result[...] = onto_grid(channel, to_theirs, shape, order=1, outside=value, parallel=parallel)
    return finer
