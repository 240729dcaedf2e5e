"""Tiny cohorts and networks shared by the tests of PRNet and of propagation."""

import numpy as np
import torch

from scripts.common.files import write_nifti
from scripts.data.cohort import Cohort
from scripts.data.prepare_cohort import prepare_cohort
from scripts.networks.model_files import write_model
from scripts.networks.prnet import PRNet

CLASSES = {"spleen": 1, "left_kidney": 3}
BACKGROUND_VALUE = 8
SPACING_MM = (4.0, 4.0, 5.0)
PATCH_SIZE = (32, 16, 16)
LAS = np.array([[-4.0, 0, 0, 40], [0, 4, 0, -30], [0, 0, 5, 7], [0, 0, 0, 1]])

# Overrides of train_prnet.json for a training of a second.
TINY = {
    "device": torch.device("cpu"),
    "spacing_mm": list(SPACING_MM),
    "patch_size": list(PATCH_SIZE),
    "width": 2,
    "max_offset_mm": [200.0, 200.0, 200.0],
    "max_epochs": 3,
    "iterations_per_epoch": 2,
    "volumes_per_batch": 2,
    "pairs_per_volume": 1,
    "lr_step_epochs": 1,
    "validation_count": 1,
    "validation_pairs": 2,
}


def phantom(seed, shape=(24, 24, 24)):
    """HU volume: smooth soft tissue with two organs; air at both ends of the first axis."""
    rng = np.random.default_rng(seed)
    x, y, z = np.indices(shape)
    hu = 3.0 * y + 2.0 * z - 40 + rng.normal(0, 5, shape)
    hu[(x - 8) ** 2 + (y - 9 - seed % 2) ** 2 + (z - 8) ** 2 < 20] = 120
    hu[14:19, 14:19, 12 : 17 + seed % 2] = 190
    hu[:2] = hu[-2:] = -1000
    return hu.astype(np.float32)


def strokes(shape=(24, 24, 24)):
    """Scribbles: three voxels of the spleen, one of the kidney, ten of background."""
    scribbles = np.zeros(shape, np.uint8)
    scribbles[7:10, 9, 8] = CLASSES["spleen"]
    scribbles[16, 16, 14] = CLASSES["left_kidney"]
    scribbles[5:15, 20, 20] = BACKGROUND_VALUE
    return scribbles


def write_images(folder, count=2, affine=LAS):
    """`folder/case_N.nii.gz`; returns the folder."""
    for n in range(count):
        write_nifti(folder / f"case_{n}.nii.gz", phantom(n), affine)
    return folder


def make_cohort(folder, count=2, affine=LAS, write=True) -> Cohort:
    """A prepared cohort in `folder/work` with scribbles on case_0; `write` False takes the images that are there."""
    images = write_images(folder / "images", count, affine) if write else folder / "images"
    write_nifti(folder / "scribbles.nii.gz", strokes(), affine)
    return prepare_cohort(
        images,
        folder / "work",
        SPACING_MM,
        support=images / "case_0.nii.gz",
        scribbles=folder / "scribbles.nii.gz",
        classes=CLASSES,
        background=BACKGROUND_VALUE,
    )


def write_prnets(folder, spacing_mm=SPACING_MM, seed=0):
    """Untrained coarse and fine networks with their cards; returns `folder`."""
    for n, name in enumerate(("coarse", "fine")):
        torch.manual_seed(seed + n)
        offset_mm = [[200.0, 200.0, 200.0], [40.0, 40.0, 40.0]][n]
        card = {
            "patch_size": list(PATCH_SIZE),
            "width": 2,
            "pooling": 1,
            "spacing_mm": list(spacing_mm),
            "max_offset_mm": offset_mm,
        }
        write_model(folder / name, PRNet(PATCH_SIZE, width=2), card)
    return folder
