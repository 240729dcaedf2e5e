"""Seeds for geodesic masks from transferred votes: where one class is beyond doubt (mode `default`)."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

VOTES = "_votes.nii.gz"
FULL_VOTE = 255  # votes are stored as bytes


def read_votes(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Class probabilities (1 + K, x, y, z) in [0, 1], background first, and the cells' (4, 4) affine."""
    image = nib.load(path)
    return np.moveaxis(np.asarray(image.dataobj, dtype=np.float32), -1, 0) / FULL_VOTE, image.affine


def seeds_from_votes(
    votes: np.ndarray, votes_affine: np.ndarray, affine: np.ndarray, shape: tuple[int, int, int], confident: float
) -> np.ndarray:
    """(1 + K, X, Y, Z) bool on the grid of `affine` and `shape`: where a class's vote, made finer linearly, exceeds
    `confident`.

    Beyond the votes' grid is background.

    Args:
        votes: (1 + K, x, y, z), background first.
        votes_affine: of the votes' cells.
        affine: of the wanted grid, whose axes are parallel to those of the cells.
        shape: of the wanted grid.
        confident: above one half, so that no voxel is a seed of two classes.

    Raises:
        ValueError: `confident` is not above one half.
    """
    if not confident > 0.5:
        raise ValueError(f"seeds need votes above one half, got {confident}")
    to_cells = np.linalg.inv(votes_affine) @ affine
    seeds = np.empty((len(votes), *shape), dtype=bool)
    for channel, vote in enumerate(votes):
        outside = 1.0 if channel == 0 else 0.0
        fine = ndimage.affine_transform(
            vote, to_cells[:3, :3], to_cells[:3, 3], output_shape=shape, order=1, mode="grid-constant", cval=outside
        )
        seeds[channel] = fine > confident
    return seeds
