"""Volumes and label maps from NIfTI, NRRD, MetaImage or DICOM, checked, with an RAS+ millimetre affine."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from scripts.common.affines import spacing_of
from scripts.common.errors import BundleError
from scripts.common.files import open_nifti

logger = logging.getLogger(__name__)

NIFTI_SUFFIXES = (".nii.gz", ".nii")
ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
DETACHED_SUFFIXES = (".nhdr", ".mhd")

SPACING_RANGE_MM = (0.1, 20.0)
MINIMUM_VOXELS = 8
MINIMUM_EXTENT_MM = 20.0
UNEVEN_SLICES_MM = 0.1
ASSUMED_SLICE_SPACING_MM = 5.0  # of a DICOM series whose slices were not all read

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Volume:
    """One scan or label map.

    Args:
        array: (X, Y, Z) float32 Hounsfield units, or integer labels.
        affine: (4, 4) float64, voxel centre [i, j, k, 1] to world millimetres, RAS+.
        remarks: sentences on what reading had to do or to assume.
        names: class name -> value, where the file itself names them (segments of 3D Slicer).
    """

    array: np.ndarray
    affine: np.ndarray
    remarks: tuple[str, ...] = ()
    names: Mapping[str, int] = field(default_factory=dict)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxel centres along X, Y, Z."""
        return spacing_of(self.affine)


def is_nifti(path: str | Path) -> bool:
    """Whether the file's name says NIfTI."""
    return Path(path).name.lower().endswith(NIFTI_SUFFIXES)


def case_id(path: str | Path) -> str:
    """The file's or folder's name without the volume suffix: `a/b.nii.gz` -> `b`."""
    name = Path(path).name
    suffix = next((suffix for suffix in NIFTI_SUFFIXES + ITK_SUFFIXES if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(suffix)] if suffix else name


@dataclass(frozen=True)
class FolderScan:
    """What lies in a folder.

    Attributes:
        volumes: identifier -> source, sorted: a file, a folder with a DICOM series, or one slice of a series.
        unused: what is no volume, with the reason in a few words; many files of a kind are one entry.
    """

    volumes: dict[str, Path]
    unused: list[tuple[Path, str]]


def scan_folder(folder: str | Path) -> FolderScan:
    """Volumes of a folder: NIfTI, NRRD, MetaImage files, and sub-folders holding DICOM series; and what is not used.

    Hidden files are skipped. Raises BundleError if the folder is missing or two volumes have the same identifier.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BundleError("the images folder is missing", file=folder, expected="a folder of CT volumes")
    volumes: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not _looks_like_volume(path):
            continue
        name = case_id(path)
        if name in volumes:
            raise BundleError(
                "two volumes have the same name",
                case=name,
                file=path,
                expected="one volume a case",
                found=volumes[name],
            )
        volumes[name] = path
    return FolderScan(volumes, [])


def find_volumes(folder: str | Path) -> dict[str, Path]:
    """Volumes of a folder by identifier (see `scan_folder`)."""
    return scan_folder(folder).volumes


def _looks_like_volume(path: Path) -> bool:
    if path.is_dir():
        return bool(_dicom_series(path))
    return path.name.lower().endswith(NIFTI_SUFFIXES + ITK_SUFFIXES)


def read_volume(path: str | Path, strict: bool = False) -> Volume:
    """Read a CT volume: (X, Y, Z) float32 HU, affine as stored (NIfTI: bit for bit).

    Args:
        path: a source that `scan_folder` found.
        strict: slices that cannot be read are an error, not a remark.

    Raises:
        BundleError: unreadable, empty, coloured, not 3-D, NaN or infinite, constant, absurd spacing, singular affine.
    """
    path = Path(path)
    array, affine = _read(path)
    check_grid(path, array.shape, affine)
    array = np.ascontiguousarray(array, dtype=np.float32)
    lowest, highest = array.min(), array.max()
    if not np.isfinite(lowest) or not np.isfinite(highest):
        bad = int(np.count_nonzero(~np.isfinite(array)))
        raise _error("the volume has values that are not finite", path, "finite HU", f"{bad} NaN or infinite voxels")
    if lowest == highest:
        raise _error("the volume is constant", path, "a CT", f"the value {lowest:g} everywhere")
    return Volume(array, affine)


def read_labels(path: str | Path) -> Volume:
    """Read a label or scribble map: (X, Y, Z) int16 or int32; may be all zero.

    Raises:
        BundleError: as `read_volume`, or values that are no whole numbers.
    """
    path = Path(path)
    array, affine = _read(path)
    check_grid(path, array.shape, affine)
    if not np.all(np.isfinite(array)):
        raise _error("the label map has values that are not finite", path, "whole numbers", "NaN or infinite voxels")
    labels = np.rint(array)
    if not np.allclose(array, labels, atol=1e-4):
        raise _error("the label map has values that are no whole numbers", path, "whole numbers", "fractions")
    small = np.abs(labels).max() <= np.iinfo(np.int16).max
    return Volume(np.ascontiguousarray(labels, dtype=np.int16 if small else np.int32), affine)


def peek_grid(path: str | Path) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape and a spacing-only affine from the header alone, unchecked, for estimates of size."""
    path = Path(path)
    if is_nifti(path):
        image = open_nifti(path)
        return tuple(image.shape), image.affine
    return _peek_itk(path)


def source_files(path: str | Path) -> list[Path]:
    """The files a volume is made of: itself, a DICOM folder's series, or a detached header with its data."""
    path = Path(path)
    if path.is_dir():
        return [Path(name) for name in _series_files(path)]
    if path.suffix.lower() in DETACHED_SUFFIXES:
        return sorted(p for p in path.parent.iterdir() if p.is_file() and p.name.startswith(f"{path.stem}."))
    return [path]


def _peek_itk(path: Path) -> tuple[tuple[int, ...], np.ndarray]:
    names = _series_files(path) if path.is_dir() else [str(path)]
    reader = sitk.ImageFileReader()
    reader.SetFileName(names[0])
    reader.ReadImageInformation()
    size, spacing = list(reader.GetSize()), list(reader.GetSpacing())
    if path.is_dir():
        size[2:], spacing[2:] = [len(names)], [ASSUMED_SLICE_SPACING_MM]
    return tuple(size), np.diag([*spacing[:3], 1.0])


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    if not path.exists():
        raise _error("the volume is missing", path, "a file or a DICOM folder", "nothing there")
    if path.is_file() and path.stat().st_size == 0:
        raise _error("the file is empty", path, "a CT volume", "0 bytes")
    try:
        return _read_nifti(path) if is_nifti(path) else _read_itk(path)
    except BundleError:
        raise
    except Exception as error:  # the readers raise anything on damaged files
        raise _error("the volume cannot be read", path, "NIfTI, NRRD, MetaImage or DICOM", _one_line(error)) from error


def _read_nifti(path: Path) -> tuple[np.ndarray, np.ndarray]:
    image = open_nifti(path)
    if image.get_data_dtype().fields is not None or np.issubdtype(image.get_data_dtype(), np.complexfloating):
        raise _error("the volume has colours or complex values", path, "one number a voxel", image.get_data_dtype())
    array = image.get_fdata(dtype=np.float32, caching="unchanged")
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    return array, image.affine


def _read_itk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    if path.is_dir():
        files = _series_files(path)
        _check_slices(path, files)
        image = sitk.ReadImage(files)
    else:
        image = sitk.ReadImage(str(path))
    if image.GetNumberOfComponentsPerPixel() != 1:
        components = f"{image.GetNumberOfComponentsPerPixel()} numbers a voxel"
        raise _error("the volume has colours or complex values", path, "one number a voxel", components)
    array = sitk.GetArrayFromImage(image).transpose()
    return array, _affine_of_itk(image) if array.ndim == 3 else np.eye(4)


def _affine_of_itk(image: sitk.Image) -> np.ndarray:
    lps = np.eye(4)
    lps[:3, :3] = np.asarray(image.GetDirection()).reshape(3, 3) * np.asarray(image.GetSpacing())
    lps[:3, 3] = image.GetOrigin()
    return LPS_TO_RAS @ lps


def _dicom_series(folder: Path) -> dict[str, list[str]]:
    """Series of a folder: UID -> slice files in order."""
    reader = sitk.ImageSeriesReader
    return {uid: list(reader.GetGDCMSeriesFileNames(str(folder), uid)) for uid in reader.GetGDCMSeriesIDs(str(folder))}


def _series_files(folder: Path) -> list[str]:
    """Slice files of the folder's longest DICOM series."""
    series = _dicom_series(folder)
    if not series:
        raise _error("the folder holds no DICOM series", folder, "DICOM slices", "none")
    uid, files = max(series.items(), key=lambda item: len(item[1]))
    if len(series) > 1:
        logger.warning("%s: %d DICOM series, taking the longest, %s, %d slices", folder, len(series), uid, len(files))
    return files


def _check_slices(folder: Path, files: list[str]) -> None:
    """A series with missing slices would be read as if it were evenly spaced."""
    reader = sitk.ImageFileReader()
    positions = []
    for name in files:
        reader.SetFileName(name)
        reader.ReadImageInformation()
        positions.append(reader.GetOrigin()[:3])
    gaps_mm = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    if len(gaps_mm) and gaps_mm.max() - gaps_mm.min() > UNEVEN_SLICES_MM:
        spacings = f"{gaps_mm.min():.4g} to {gaps_mm.max():.4g} mm"
        raise _error("the DICOM series has missing or uneven slices", folder, "one slice spacing", spacings)


def check_grid(path: Path, shape: tuple[int, ...], affine: np.ndarray) -> None:
    """Raise BundleError unless shape and affine can be those of a CT volume."""
    size = " x ".join(map(str, shape))
    if len(shape) != 3:
        raise _error(f"the volume is {len(shape)}-D", path, "a 3-D volume", size)
    if min(shape) < MINIMUM_VOXELS:
        raise _error("the volume is too small", path, f"at least {MINIMUM_VOXELS} voxels along each axis", size)
    if not np.all(np.isfinite(affine)) or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise _error("the affine is singular", path, "an invertible affine", np.round(affine[:3], 4).tolist())
    spacing_mm = spacing_of(affine)
    spacing = " x ".join(f"{step:.4g}" for step in spacing_mm) + " mm"
    if min(spacing_mm) < SPACING_RANGE_MM[0] or max(spacing_mm) > SPACING_RANGE_MM[1]:
        expected = f"{SPACING_RANGE_MM[0]:g} to {SPACING_RANGE_MM[1]:g} mm along each axis"
        raise _error("the voxel spacing is absurd", path, expected, spacing)
    extent_mm = [step * count for step, count in zip(spacing_mm, shape, strict=True)]
    if min(extent_mm) < MINIMUM_EXTENT_MM:
        extent = " x ".join(f"{length:.4g}" for length in extent_mm) + " mm"
        raise _error("the volume is too small", path, f"at least {MINIMUM_EXTENT_MM:g} mm along each axis", extent)


def _error(problem: str, path: Path, expected: object, found: object) -> BundleError:
    return BundleError(problem, case=case_id(path), stage="cohort", file=path, expected=expected, found=found)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
