"""A cohort of very many very small volumes, made by seed: pieces of a phantom, each with its own noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bundle.datasets.phantom.classes import BACKGROUND_SCRIBBLE, LABELS
from bundle.datasets.phantom.painter import Phantom, make_phantom
from bundle.datasets.scribble_simulation import simulate_scribbles
from scripts.common.files import write_nifti
from scripts.data.intensity import body_mask

SPACING_MM = 6.0
SHAPE = (40, 30, 16)  # voxels: with fewer a body is hardly one
PATIENTS = 4
NOISE_HU = 15.0
CLASSES = {"liver": LABELS["liver"]}
BACKGROUND = BACKGROUND_SCRIBBLE


def write_small_volumes(folder: Path, count: int, seed: int = 0) -> tuple[Path, Path]:
    """Write `images/small_00000.nii.gz`, ... and `scribbles.nii.gz` of the first; returns folder and scribbles.

    What is there already stays: a larger cohort begins with the volumes of a smaller one.
    """
    images, scribbles = folder / "images", folder / "scribbles.nii.gz"
    patients = [_piece(make_phantom(1000 * seed + number, (SPACING_MM,) * 3)) for number in range(PATIENTS)]
    for number in range(count):
        file = images / f"small_{number:05d}.nii.gz"
        if not file.exists():
            hu, _, affine = patients[number % PATIENTS]
            noise = np.random.default_rng([seed, number]).normal(0, NOISE_HU, hu.shape)
            write_nifti(file, np.rint(hu + noise).astype(np.int16), affine)
    if not scribbles.exists():
        hu, label, affine = patients[0]
        strokes = simulate_scribbles(label, affine, CLASSES, BACKGROUND, seed, body=body_mask(hu, (SPACING_MM,) * 3))
        write_nifti(scribbles, strokes, affine)
    return images, scribbles


def _piece(phantom: Phantom) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(X, Y, Z) HU and label values around the liver, and their affine."""
    inside = np.argwhere(phantom.label == CLASSES["liver"])
    middle = (inside.min(axis=0) + inside.max(axis=0) + 1) // 2
    most = np.array(phantom.hu.shape) - SHAPE
    start = np.clip(middle - np.array(SHAPE) // 2, 0, np.maximum(most, 0))
    where = tuple(slice(a, a + size) for a, size in zip(start, SHAPE, strict=True))
    affine = phantom.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ start
    return phantom.hu[where], phantom.label[where], affine
