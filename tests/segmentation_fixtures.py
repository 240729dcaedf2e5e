"""Tiny synthetic work directories and networks shared by the segmentation tests."""

import json

import nibabel as nib
import numpy as np
import torch

from scripts.data.prepare_cohort import prepare_cohort

CLASSES = {"spleen": 1, "left_kidney": 3}
LAS = np.array([[-4.0, 0, 0, 40], [0, 4, 0, -30], [0, 0, 5, 7], [0, 0, 0, 1]])
LPS = np.array([[-4.0, 0, 0, 40], [0, -4, 0, 50], [0, 0, 5, 7], [0, 0, 0, 1]])


def oblique():
    """A left-handed grid tilted by 20 and 10 degrees."""
    a, b = np.deg2rad(20), np.deg2rad(10)
    rz = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    rx = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = rz @ rx @ np.diag([-4.0, 4.0, 5.0])
    affine[:3, 3] = [11.3, -20.7, 5.1]
    return affine


def phantom(seed, shape=(24, 24, 24)):
    """(HU volume, label map): soft tissue with a bright ball (1) and a brighter box (3)."""
    rng = np.random.default_rng(seed)
    x, y, z = np.indices(shape)
    hu = np.full(shape, 0.0, np.float32)
    label = np.zeros(shape, np.uint8)
    centre = 8 + rng.integers(0, 2, 3)
    label[(x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2 < 20] = 1
    label[14:19, 14:19, 12 : 17 + seed % 2] = 3
    hu[label == 1] = 100
    hu[label == 3] = 190
    hu[:2] = -1000
    return hu + rng.normal(0, 5, shape).astype(np.float32), label


def make_work_dir(folder, count=3, not_located=None):
    """A work directory with cohort.json and pseudo labels; returns it."""
    images, work = folder / "images", folder / "work"
    images.mkdir(parents=True)
    pseudo = work / "pseudo_labels"
    pseudo.mkdir(parents=True)
    for n in range(count):
        hu, label = phantom(n)
        case, missing = f"case_{n}", (not_located or {}).get(f"case_{n}", [])
        for name in missing:
            label[label == CLASSES[name]] = 0
        nib.save(nib.Nifti1Image(hu, LAS), images / f"{case}.nii.gz")
        nib.save(nib.Nifti1Image(label, LAS), pseudo / f"{case}.nii.gz")
        card = {"case": case, "classes": CLASSES, "not_located": missing, "volume_ml": {}, "seconds": 0.1}
        (pseudo / f"{case}.json").write_text(json.dumps(card))
    prepare_cohort(images, work, (4.0, 4.0, 5.0))
    return work


TINY = {
    "device": torch.device("cpu"),
    "classes": CLASSES,
    "spacing_mm": [4.0, 4.0, 5.0],
    "patch_size": [16, 16, 16],
    "architecture": "unet",
    "channels": [4, 8],
    "crop_to_body": False,
    "max_epochs": 3,
    "samples_per_epoch": 4,
    "batch_size": 2,
    "patches_per_volume": 2,
    "use_plc": True,
    "plc_start_epoch": 1,
    "learning_rate": 0.01,
}


class ThresholdNetwork(torch.nn.Module):
    """Logits (background, class 1, class 2) of a normalised CT: class 2 above `high`, class 1 above `low`."""

    def __init__(self, low=0.5, high=0.7, **_):
        super().__init__()
        self.low, self.high = low, high
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x):
        middle = (self.low + self.high) / 2
        return torch.cat([self.low - x, 0.5 * (self.high - self.low) - (x - middle).abs(), x - self.high], dim=1)
