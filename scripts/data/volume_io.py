"""Volumes and label maps from NIfTI, NRRD, MetaImage or DICOM, checked, with an RAS+ millimetre affine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from scripts.common.errors import BundleError, in_short
from scripts.common.files import in_c_order
from scripts.data.reading.detached_data import data_files
from scripts.data.reading.dicom_headers import holds_labels, is_dicom, named_frames, named_series
from scripts.data.reading.dicom_labels import check_label_object, read_label_object
from scripts.data.reading.dicom_series import open_series, peek_series, read_series, series_files
from scripts.data.reading.folder import (
    FolderScan,
    LooseSeries,
    find_label_maps,
    find_volumes,
    refuse_images_among_results,
    scan_folder,
)
from scripts.data.reading.grid_limits import check_grid
from scripts.data.reading.itk_files import peek_itk, read_itk
from scripts.data.reading.nifti import fitting_name, is_plain_nifti, peek_nifti, read_nifti
from scripts.data.reading.slicer_segments import BACKGROUND_SEGMENTS, of_classes, refuse_same_names
from scripts.data.reading.volume import ITK_SUFFIXES, SUFFIXES, Volume, case_id, has_suffix, is_nifti, volume_error

LARGEST_EXACT = 2**24  # beyond, voxels are read as float32 and whole numbers would be skipped
LARGEST_STROKE = 255  # what background strokes are where nobody says

__all__ = [
    "FolderScan",
    "LooseSeries",
    "Volume",
    "case_id",
    "check_grid",
    "check_labels",
    "find_label_maps",
    "find_volumes",
    "holds_labels",
    "is_dicom_series",
    "is_nifti",
    "is_plain_nifti",
    "peek_grid",
    "read_labels",
    "read_strokes",
    "read_volume",
    "refuse_images_among_results",
    "remarks_on_series",
    "scan_folder",
    "source_files",
]


def read_volume(path: str | Path, strict: bool = False) -> Volume:
    """Read a volume: (X, Y, Z) float32, HU or what an MR holds, affine as stored (NIfTI: bit for bit).

    Args:
        path: a source that `scan_folder` found: a file, a folder with a DICOM series, or one slice of a series.
        strict: slices that cannot be read are an error, not a remark.

    Raises:
        BundleError: unreadable, empty, coloured, not 3-D, NaN or infinite, constant, absurd spacing, singular affine,
            no orientation, too large, a DICOM series that is no evenly spaced volume.
    """
    path = Path(path)
    volume = _read(path, strict)
    array = in_c_order(volume.array, np.float32)
    lowest, highest = array.min(), array.max()
    if not np.isfinite(lowest) or not np.isfinite(highest):
        bad = int(np.count_nonzero(~np.isfinite(array)))
        raise volume_error(
            "the volume has values that are not finite", path, "finite values", f"{bad} NaN or infinite voxels"
        )
    if lowest == highest:
        raise volume_error("the volume is constant", path, "a CT or MR", f"the value {lowest:g} everywhere")
    return replace(volume, array=array)


def read_labels(
    path: str | Path,
    classes: Mapping[str, int] | None = None,
    grid: tuple[Sequence[int], np.ndarray] | None = None,
) -> Volume:
    """Read a label or scribble map: (X, Y, Z) int16 or int32; may be all zero.

    A segmentation of 3D Slicer may cover a part of its study: `on_grid_of` places it.

    Args:
        path: the label map.
        classes: name -> value that segments of these names get; others are left out, and a remark names them. None
            leaves values as they are, as those of a file that names no segments.
        grid: shape and affine of the volume that it belongs to; a DICOM segmentation or structure set, which lies on
            its grid alone, is read onto it.

    Raises:
        BundleError: as `read_volume`, values that are no whole numbers or too large, not one segment is called like a
            class, two are called like one, or, in DICOM without `classes`, like each other.
    """
    path = Path(path)
    if holds_labels(path):
        return _read_label_object(path, classes or {}, grid)
    volume = _read(path, strict=True)
    array = volume.array
    lowest, highest = array.min(), array.max()
    if not np.isfinite(lowest) or not np.isfinite(highest):
        raise volume_error(
            "the label map has values that are not finite", path, "whole numbers", "NaN or infinite voxels"
        )
    largest = max(-lowest, highest)
    if largest > LARGEST_EXACT:
        raise volume_error(
            "the label map has values that are too large", path, f"at most {LARGEST_EXACT}", f"{largest:g}"
        )
    dtype = np.int16 if np.rint(largest) <= np.iinfo(np.int16).max else np.int32
    labels = array.astype(dtype)
    if not (array == labels).all():  # mostly equal, which is quick
        labels = np.rint(array).astype(dtype)
        if not np.allclose(array, labels, atol=1e-4):
            expected = "whole numbers: a label map, not an image"
            raise volume_error("the label map has values that are no whole numbers", path, expected, "fractions")
    labels = in_c_order(labels)
    named = Volume(labels, volume.affine, volume.remarks, volume.names, segments=volume.segments)
    return of_classes(named, classes, path) if classes else named


def read_strokes(
    path: str | Path, grid: tuple[Sequence[int], np.ndarray], classes: Mapping[str, int], background: int | None
) -> Volume:
    """As `read_labels`, without renumbering; what DICOM holds beside the classes gets values of its own, too.

    Args:
        path: the scribbles.
        grid: shape and affine of the support.
        classes: name -> value, as far as it is known.
        background: value of background strokes; None takes the largest for a segment of that name.

    Raises:
        BundleError: as `read_labels`; two segments have the name of one class.
    """
    path = Path(path)
    outside = dict.fromkeys(BACKGROUND_SEGMENTS, LARGEST_STROKE if background is None else background)
    strokes = read_label_object(path, grid, {**outside, **classes}) if holds_labels(path) else read_labels(path)
    refuse_same_names(strokes.segments, [*outside, *classes] if classes else [], path)
    return strokes


def remarks_on_series(path: str | Path, source: str | Path) -> tuple[str, ...]:
    """A sentence if a DICOM segmentation refers to another series than the volume's; nothing of other files.

    Args:
        path: the segmentation or structure set.
        source: the volume that it was given for.

    Raises:
        BundleError: it was drawn in another frame of reference: the same numbers are another place there.
    """
    path, source = Path(path), Path(source)
    if not holds_labels(path) or not is_dicom_series(source):
        return ()
    image = open_series(source).images[0]
    drawn_in, lies_in = named_frames(path), named_frames(image.path)
    if drawn_in and lies_in and not drawn_in & lies_in:
        expected = "the segmentation of this very volume; or, if you know that it fits, a NIfTI on its grid"
        problem = "the segmentation was drawn in another frame of reference"
        raise volume_error(problem, path, expected, "that of another study or scan")
    series = named_series(path)  # its own among them
    if len(series) < 2 or image.series in series:
        return ()
    return ("The segmentation refers to another series: look whether it fits this one.",)


def check_labels(path: str | Path) -> None:
    """Raises BundleError unless the label map can be read, before it is known on which grid."""
    if not holds_labels(Path(path)):
        read_labels(path)
        return
    check_label_object(Path(path))


def is_dicom_series(path: str | Path) -> bool:
    """Whether a source that `scan_folder` found is a DICOM series: a folder, or one of its slices."""
    return Path(path).is_dir() or _is_slice(Path(path))


def peek_grid(path: str | Path) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape and affine in mm from the header alone, mostly unchecked, for estimates of size."""
    path = Path(path)
    if is_nifti(path):
        return peek_nifti(path)
    return peek_itk(path) if has_suffix(path, ITK_SUFFIXES) and path.is_file() else peek_series(path)


def source_files(path: str | Path) -> list[Path]:
    """The files a volume is made of: itself, a DICOM series, or a detached header with its data.

    Raises:
        BundleError: a folder without a DICOM series.
    """
    path = Path(path)
    if path.is_file() and has_suffix(path, ITK_SUFFIXES):
        return [path, *(file for file in data_files(path) if file.exists())]
    return series_files(path) if path.is_dir() or _is_slice(path) else [path]


def _read_label_object(path: Path, classes: Mapping[str, int], grid: tuple[Sequence[int], np.ndarray] | None) -> Volume:
    if grid is None:
        expected = "a NIfTI label map here: DICOM segmentations are read where the volume they belong to is known"
        raise volume_error("the label map's volume is not known", path, expected, "a DICOM segmentation")
    volume = read_label_object(path, grid, classes)
    if classes:
        return of_classes(volume, classes, path)
    refuse_same_names(volume.segments, [], path)
    return volume


def _is_slice(path: Path) -> bool:
    return not has_suffix(path, SUFFIXES) and path.is_file() and is_dicom(path)


def _read(path: Path, strict: bool) -> Volume:
    if not path.exists():
        raise volume_error("the volume is missing", path, "a file or a DICOM folder", "nothing there")
    if path.is_file() and path.stat().st_size == 0:
        raise volume_error("the file is empty", path, "a volume: copy it again", "0 bytes")
    try:
        if is_nifti(path):
            return read_nifti(path)
        return read_series(path, strict) if path.is_dir() or _is_slice(path) else read_itk(path)
    except BundleError:
        raise
    except Exception as error:  # the readers raise anything on damaged files
        expected = "a whole file in NIfTI, NRRD, MetaImage or DICOM: copy or convert it again"
        if is_nifti(path) and path.is_file() and (name := fitting_name(path)) is not None:
            expected = f"{name} as its name, which tells whether it is compressed"
        raise volume_error("the volume cannot be read", path, expected, in_short(error)) from error
