"""NIfTI files: voxels, an affine in mm, and what their headers leave open."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import nibabel as nib
import numpy as np

from scripts.common.affines import HARMLESS_VOXELS, apart_mm, spacing_of
from scripts.common.files import open_nifti
from scripts.data.reading.grid_limits import check_grid, is_plausible
from scripts.data.reading.volume import Volume, is_nifti, volume_error

MOST_HEADER_BYTES = 1 << 26
GZIP_START = b"\x1f\x8b"
PLAIN_STARTS = tuple(size.to_bytes(4, order) for size in (348, 540) for order in ("little", "big"))  # NIfTI-1, NIfTI-2
UNITS_MM = {1: ("metres", 1000.0), 3: ("micrometres", 0.001)}  # by the code in `xyzt_units`; all others mean mm


def read_nifti(path: Path) -> Volume:
    """Voxels float32 as stored, affine bit for bit unless its unit is converted.

    Raises:
        BundleError: colours, no orientation, or a grid that is none of a CT.
    """
    image = open_nifti(path)
    stored = image.get_data_dtype()
    if stored.fields is not None or np.issubdtype(stored, np.complexfloating):
        raise volume_error("the volume has colours or complex values", path, "one number a voxel", stored)
    shape, affine, remarks = _grid(image)
    check_grid(path, shape, affine)
    if image.header["qform_code"] == 0 and image.header["sform_code"] == 0:
        raise volume_error(
            "the NIfTI header does not say how the volume lies",
            path,
            "a sform or qform code above 0: convert the volume from DICOM again, or set the code where the affine is "
            "known to be right (nibabel: image.set_sform(affine, 1))",
            "both codes are 0",
        )
    offset = cast(nib.arrayproxy.ArrayProxy, image.dataobj).offset
    if offset > MOST_HEADER_BYTES:
        expected = f"voxels within the first {MOST_HEADER_BYTES >> 20} MB"
        raise volume_error("the NIfTI header is too long", path, expected, f"{offset} bytes")
    if (about_forms := remark_on_forms(image)) is not None:
        remarks = (*remarks, about_forms)
    array = image.get_fdata(dtype=np.float32, caching="unchanged")
    return Volume(array.reshape(shape), affine, remarks)


def remark_on_forms(image: nib.Nifti1Image) -> str | None:
    """A sentence where sform and qform are two places: ITK takes the qform unless the sform's code is 1."""
    try:
        sform, qform = image.get_sform(coded=True)[0], image.get_qform(coded=True)[0]
        if sform is None or qform is None:
            return None
        distance_mm = apart_mm(sform, qform, image.shape[:3])
    except (ValueError, np.linalg.LinAlgError):  # a damaged qform, which nobody takes beside a sform
        return None
    if distance_mm < HARMLESS_VOXELS * min(spacing_of(sform)):
        return None
    return (
        f"The header's sform and qform put voxels up to {distance_mm:.3g} mm apart; the sform was taken, and other "
        "programs may take the qform: find out which is right, and save the volume with that one alone."
    )


def peek_nifti(path: Path) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape and affine in mm by the header alone, unchecked."""
    shape, affine, _ = _grid(open_nifti(path))
    return shape, affine


def is_plain_nifti(path: Path) -> bool:
    """Whether every reader of NIfTI sees what `read_nifti` returns: 3-D, lengths in mm; not of a damaged file."""
    if not is_nifti(path):
        return False
    try:
        image = open_nifti(path)
    except Exception:  # nibabel raises many types for a damaged file
        return False
    return len(image.shape) == 3 and _unit(image) is None


def fitting_name(path: Path) -> str | None:
    """Another name for a NIfTI file that is compressed and not called so, or called so and not compressed."""
    with path.open("rb") as file:
        start = file.read(4)
    if path.name.lower().endswith(".gz"):
        return path.name[: -len(".gz")] if start in PLAIN_STARTS else None
    return f"{path.name}.gz" if start.startswith(GZIP_START) else None


def _grid(image: nib.Nifti1Image) -> tuple[tuple[int, ...], np.ndarray, tuple[str, ...]]:
    shape = tuple(int(count) for count in image.shape)
    if shape[3:] == (1,):
        shape = shape[:3]
    affine, unit = image.affine, _unit(image)
    if unit is None:
        return shape, affine, ()
    name, factor = unit
    converted = np.diag([factor, factor, factor, 1.0]) @ affine
    if is_plausible(spacing_of(affine)) and not is_plausible(spacing_of(converted)):
        return shape, affine, (f"The header gives lengths in {name}, which cannot be; they were taken as mm.",)
    return shape, converted, (f"The header gives lengths in {name}; they were converted to mm.",)


def _unit(image: nib.Nifti1Image) -> tuple[str, float] | None:
    """Name and length in mm of a unit that is not mm."""
    return UNITS_MM.get(int(image.header["xyzt_units"]) & 7)
