"""Seeds for geodesic masks from transferred votes: where one class is beyond doubt (mode `default`)."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from scripts.common.files import write_nifti

PROBABILITIES = "_probabilities.nii.gz"
FULL_PROBABILITY = 255  # votes are stored as bytes


def read_probabilities(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Class probabilities (1 + K, x, y, z) in [0, 1], background first, and their (4, 4) affine."""
    image = nib.load(path)
    return np.moveaxis(np.asarray(image.dataobj, dtype=np.float32), -1, 0) / FULL_PROBABILITY, image.affine


def write_probabilities(path: str | Path, probabilities: np.ndarray, affine: np.ndarray) -> None:
    """Store (1 + K, x, y, z) class probabilities on the grid of `affine`, as `read_probabilities` reads them."""
    write_nifti(path, np.moveaxis((probabilities * FULL_PROBABILITY).round().astype(np.uint8), 0, -1), affine)


def probabilities_on_grid(
    probabilities: np.ndarray, probabilities_affine: np.ndarray, affine: np.ndarray, shape: tuple[int, int, int]
) -> np.ndarray:
    """(1 + K, X, Y, Z) votes on the grid of `affine` and `shape`, linear; beyond the votes' grid is background.

    Args:
        probabilities: (1 + K, x, y, z), background first.
        probabilities_affine: of the votes' grid.
        affine: of the wanted grid, whose axes are parallel to those of the votes'.
        shape: of the wanted grid.
    """
    to_cells = np.linalg.inv(probabilities_affine) @ affine
    matrix, shift = to_cells[:3, :3], to_cells[:3, 3]
    outside = [1.0, *[0.0] * (len(probabilities) - 1)]
    return np.stack(
        [
            ndimage.affine_transform(vote, matrix, shift, output_shape=shape, order=1, mode="grid-constant", cval=value)
            for vote, value in zip(probabilities, outside, strict=True)
        ]
    )
