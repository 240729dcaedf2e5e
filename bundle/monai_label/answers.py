"""The label map that a client gets, with what viewers need to know of it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

from scripts.common.files import write_nifti

NIFTI = ".nii.gz"


def answer_file(label: np.ndarray, affine: np.ndarray, suffix: str | None, like: nib.Nifti1Image | None = None) -> str:
    """A file of its own, which the server removes when it was sent.

    Args:
        label: (X, Y, Z) values.
        affine: (4, 4) to mm in RAS.
        suffix: of the format that the client reads; 3D Slicer and OHIF want NRRD.
        like: whose header NIfTI keeps.
    """
    with tempfile.NamedTemporaryFile(suffix=NIFTI, delete=False) as file:
        target = Path(file.name)
    write_nifti(target, label.astype(np.uint8), affine, like=like)
    if suffix in (None, "", NIFTI):
        return str(target)
    converted = target.with_name(target.name.removesuffix(NIFTI) + suffix)
    sitk.WriteImage(sitk.ReadImage(str(target)), str(converted), useCompression=True)
    target.unlink()
    return str(converted)


def present_names(label: np.ndarray, classes: Mapping[str, int]) -> dict[str, int]:
    """Class -> value of those that a label map, or a list of its values, holds, by value.

    3D Slicer names the segments that it finds in this order.
    """
    values = set(np.unique(label).tolist())
    return dict(sorted(((name, value) for name, value in classes.items() if value in values), key=lambda pair: pair[1]))
