"""Odd NIfTI files."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from tests.campaign.anatomy import BONE_HU, draw, grid

NAME = "odd.nii.gz"
OK, SAID = ("right",), ("left out with a sentence",)
OK_OR_SAID = ("right", "right, with a sentence", "left out with a sentence")
TOLD = ("right, with a sentence", "left out with a sentence", "wrong, with a sentence")

Maker = Callable[[Path], None]


def _image(codes: str = "LPS", dtype: Any = np.int16, **angles: float) -> nib.Nifti1Image:
    shape, affine = grid(codes, **angles)
    return nib.Nifti1Image(draw(shape, affine).astype(dtype), affine, dtype=dtype)


def _turned(codes: str, folder: Path, **angles: float) -> None:
    nib.save(_image(codes, **angles), folder / NAME)


def _values(change: Callable[[np.ndarray], np.ndarray], folder: Path) -> None:
    """HU put through `change`, stored as it comes."""
    shape, affine = grid()
    array = change(draw(shape, affine).astype(np.float64))
    nib.save(nib.Nifti1Image(array, affine, dtype=array.dtype), folder / NAME)


def _as(dtype: str, folder: Path) -> None:
    nib.save(_image(dtype=np.dtype(dtype)), folder / NAME)


def _scaled(slope: float, intercept: float, folder: Path) -> None:
    """Stored so that slope and intercept of the header give HU."""
    shape, affine = grid()
    image = nib.Nifti1Image(np.rint((draw(shape, affine) - intercept) / slope).astype(np.int16), affine)
    image.header.set_slope_inter(slope, intercept)
    nib.save(image, folder / NAME)


def _header(change: Callable[[nib.Nifti1Header], None], folder: Path) -> None:
    """A good file whose header is changed behind the library's back."""
    image = _image()
    nib.save(image, folder / "odd.nii")
    content = bytearray((folder / "odd.nii").read_bytes())
    header = nib.Nifti1Header(bytes(content[:348]), check=False)
    change(header)
    content[:348] = header.binaryblock
    (folder / "odd.nii").write_bytes(bytes(content))


def _set(**fields: Any) -> Callable[[nib.Nifti1Header], None]:
    def change(header: nib.Nifti1Header) -> None:
        for key, value in fields.items():
            header[key] = value

    return change


def _units(factor: float, code: int) -> Callable[[nib.Nifti1Header], None]:
    """All lengths in another unit, and the header says so."""

    def change(header: nib.Nifti1Header) -> None:
        header["pixdim"][1:4] *= factor
        for row in ("srow_x", "srow_y", "srow_z"):
            header[row] *= factor
        for key in ("qoffset_x", "qoffset_y", "qoffset_z"):
            header[key] *= factor
        header["xyzt_units"] = code

    return change


def _shape(shape: tuple[int, ...], folder: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros(shape, np.int16), np.diag([5, 6, 8, 1.0])), folder / NAME)


def _frames(count: int, folder: Path) -> None:
    shape, affine = grid()
    array = np.repeat(draw(shape, affine)[..., None], count, axis=3)
    nib.save(nib.Nifti1Image(array, affine), folder / NAME)


def _structured(dtype: Any, folder: Path) -> None:
    shape, affine = grid()
    nib.save(nib.Nifti1Image(np.zeros(shape, dtype), affine), folder / NAME)


def _bytes(make: Callable[[bytes], bytes], folder: Path, name: str = NAME) -> None:
    nib.save(_image(), folder / NAME)
    content = make((folder / NAME).read_bytes())
    (folder / NAME).unlink()
    (folder / name).write_bytes(content)


def _link(folder: Path) -> None:
    (folder / NAME).symlink_to("nowhere.nii.gz")


def _loop(folder: Path) -> None:
    (folder / NAME).symlink_to(NAME)


def _pipe(folder: Path) -> None:
    os.mkfifo(folder / NAME)


def _folder(folder: Path) -> None:
    (folder / NAME).mkdir()


def _nested(folder: Path) -> None:
    (folder / "patient").mkdir()
    nib.save(_image(), folder / "patient" / NAME)


def _pair(folder: Path) -> None:
    nib.save(nib.Nifti1Pair(_image().dataobj, _image().affine), folder / "odd.img")


def _nifti2(folder: Path) -> None:
    image = _image()
    nib.save(nib.Nifti2Image(np.asarray(image.dataobj), image.affine), folder / NAME)


def _big_endian(folder: Path) -> None:
    image = _image()
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine, header), folder / NAME)


def _upper_case(folder: Path) -> None:
    _bytes(lambda content: content, folder, "odd.NII.GZ")


def _bomb(folder: Path) -> None:
    """A small file that expands far beyond what its header says."""
    nib.save(_image(), folder / "odd.nii")
    content = (folder / "odd.nii").read_bytes()
    (folder / "odd.nii").unlink()
    with gzip.open(folder / NAME, "wb", compresslevel=9) as file:
        file.write(content)
        for _ in range(2000):
            file.write(bytes(1 << 20))


def _forms(folder: Path, sform: int, qform: int) -> None:
    image, affine = _image(), _image().affine
    image.set_sform(affine, sform)
    image.set_qform(affine, qform)
    nib.save(image, folder / NAME)


def _nan_some(hu: np.ndarray) -> np.ndarray:
    hu[3:5, 3:5, 3:5] = np.nan
    return hu.astype(np.float32)


def _padded(value: float) -> Callable[[np.ndarray], np.ndarray]:
    """A round field of view: beyond it the scanner pads."""

    def change(hu: np.ndarray) -> np.ndarray:
        x, y = np.meshgrid(*(np.linspace(-1, 1, n) for n in hu.shape[:2]), indexing="ij")
        hu[x**2 + y**2 > 1.15] = value
        return hu.astype(np.int16)

    return change


def _metal(hu: np.ndarray) -> np.ndarray:
    hu[hu == BONE_HU] = 32767
    return hu.astype(np.int16)


def _classes(hu: np.ndarray) -> np.ndarray:
    return ((hu > -500).astype(np.uint8) + (hu > 300)).astype(np.uint8)


def _magnetic(hu: np.ndarray) -> np.ndarray:
    """As an MR might look: nothing outside, unrelated positive values inside, a bias across."""
    bias = np.linspace(0.6, 1.4, hu.shape[0])[:, None, None]
    noise = np.abs(np.random.default_rng(0).normal(0, 8, hu.shape))
    return (np.where(hu > -500, (420 - 0.4 * hu.clip(-100, 700)) * bias, 0) + noise).astype(np.int16)


ODD: dict[str, tuple[Maker, tuple[str, ...]]] = {
    **{
        f"NIfTI, axes {codes}": (partial(_turned, codes), OK)
        for codes in ("RAS", "LPI", "PIR", "ASL", "SAR", "IPL", "LAS")
    },
    "NIfTI, oblique by 20 degrees": (partial(_turned, "LPS", oblique_deg=20.0), OK),
    "NIfTI, sheared as by a gantry": (partial(_turned, "RAS", shear=0.27), OK),
    **{f"NIfTI of {kind}": (partial(_as, kind), OK) for kind in ("int32", "int64", "float32", "float64")},
    "NIfTI with slope 1 and intercept -1024": (partial(_scaled, 1.0, -1024.0), OK),
    "NIfTI with slope 0.5": (partial(_scaled, 0.5, 0.0), OK),
    "NIfTI with slope NaN": (partial(_header, _set(scl_slope=np.nan, scl_inter=np.nan)), OK),
    "NIfTI with slope 0": (partial(_header, _set(scl_slope=0.0)), OK),
    "NIfTI-2": (_nifti2, OK),
    "NIfTI, big-endian": (_big_endian, OK),
    "NIfTI, .NII.GZ": (_upper_case, OK),
    "NIfTI with sform alone": (partial(_forms, sform=1, qform=0), OK),
    "NIfTI with qform alone": (partial(_forms, sform=0, qform=1), OK),
    "NIfTI with neither sform nor qform": (partial(_header, _set(sform_code=0, qform_code=0)), SAID),
    "NIfTI in metres": (partial(_header, _units(1e-3, 1)), ("right", "right, with a sentence")),
    "NIfTI in micrometres": (partial(_header, _units(1e3, 3)), ("right", "right, with a sentence")),
    "NIfTI of unknown units": (partial(_header, _set(xyzt_units=0)), OK_OR_SAID),
    "NIfTI, 4-D of one frame": (partial(_frames, 1), OK),
    "NIfTI, 4-D of two frames": (partial(_frames, 2), SAID),
    "NIfTI, 2-D": (partial(_shape, (64, 64)), SAID),
    "NIfTI of one slice": (partial(_shape, (64, 64, 1)), SAID),
    "NIfTI of three slices": (partial(_shape, (64, 64, 3)), SAID),
    "NIfTI in colours": (partial(_structured, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])), SAID),
    "NIfTI of complex numbers": (partial(_structured, np.complex64), SAID),
    "NIfTI whose header claims 30000^3 voxels": (
        partial(_header, _set(dim=[3, 30000, 30000, 30000, 1, 1, 1, 1])),
        SAID,
    ),
    "NIfTI whose header claims a negative size": (partial(_header, _set(dim=[3, -44, 38, 30, 1, 1, 1, 1])), SAID),
    "NIfTI whose header claims twice the slices": (partial(_header, _set(dim=[3, 44, 38, 60, 1, 1, 1, 1])), SAID),
    "NIfTI with a singular affine": (partial(_header, _set(srow_x=[0, 0, 0, 0], qform_code=0)), SAID),
    "NIfTI with an affine of NaN": (partial(_header, _set(srow_x=[np.nan] * 4)), SAID),
    "NIfTI of 0.001 mm": (partial(_header, _units(1e-3, 2)), SAID),
    "NIfTI, cut in half": (partial(_bytes, lambda content: content[: len(content) // 2]), SAID),
    "NIfTI, last byte missing": (partial(_bytes, lambda content: content[:-1]), OK_OR_SAID),
    "NIfTI of 0 bytes": (partial(_bytes, lambda content: b""), SAID),
    "NIfTI that is text": (partial(_bytes, lambda content: b"404: not found\n"), SAID),
    "NIfTI not compressed but called so": (partial(_bytes, gzip.decompress), OK_OR_SAID),
    "NIfTI that expands beyond its header": (_bomb, OK_OR_SAID),
    "NIfTI pair": (_pair, OK_OR_SAID),
    "a link to nothing": (_link, SAID),
    "a link to itself": (_loop, SAID),
    "a pipe": (_pipe, SAID),
    "a folder called as a file": (_folder, SAID),
    "NIfTI in a folder below": (_nested, OK_OR_SAID),
    "some NaN": (partial(_values, _nan_some), OK_OR_SAID),
    "all NaN": (partial(_values, lambda hu: np.full_like(hu, np.nan)), SAID),
    "infinite": (partial(_values, lambda hu: np.where(hu > 300, np.inf, hu)), SAID),
    "constant": (partial(_values, lambda hu: np.full(hu.shape, 7, np.int16)), SAID),
    "all air": (partial(_values, lambda hu: (hu * 0 - 1000 + (hu > 0)).astype(np.int16)), SAID),
    "without intercept": (partial(_values, lambda hu: (hu + 1024).astype(np.int16)), TOLD),
    "without intercept, unsigned": (partial(_values, lambda hu: (hu + 1000).astype(np.uint16)), TOLD),
    "scaled to [0, 1]": (partial(_values, lambda hu: ((hu + 1000) / 1700).astype(np.float32)), TOLD),
    "scaled to [0, 255]": (partial(_values, lambda hu: ((hu + 1000) / 1700 * 255).astype(np.uint8)), TOLD),
    "wrapped to unsigned": (partial(_values, lambda hu: hu.astype(np.int16).astype(np.uint16)), TOLD),
    "inverted": (partial(_values, lambda hu: (-hu).astype(np.int16)), TOLD),
    "ten times too large": (partial(_values, lambda hu: (hu * 10).astype(np.int16)), TOLD),
    "MR": (partial(_values, _magnetic), TOLD),
    "a label map": (partial(_values, _classes), SAID),
    "padding of -2000": (partial(_values, _padded(-2000)), OK),
    "padding of -3024": (partial(_values, _padded(-3024)), OK),
    "padding of 0": (partial(_values, _padded(0)), OK_OR_SAID),
    "metal of 32767": (partial(_values, _metal), OK),
    "a soft-tissue window": (partial(_values, lambda hu: hu.clip(-160, 1000).astype(np.int16)), OK_OR_SAID),
}
