"""Label maps from DICOM: a segmentation or an RT structure set, brought onto the grid of the volume it was drawn on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scripts.common.errors import BundleError, in_short
from scripts.data.reading.dicom_headers import SEGMENTATIONS, STRUCTURE_SET
from scripts.data.reading.dicom_segmentation import OtherGridError, segments_on_grid
from scripts.data.reading.slicer_segments import distinct_names, plain_name
from scripts.data.reading.structure_set import regions_on_grid
from scripts.data.reading.volume import Volume, volume_error

Grid = tuple[Sequence[int], np.ndarray]  # shape, affine to mm in RAS


def read_label_object(path: Path, grid: Grid, values: Mapping[str, int]) -> Volume:
    """A DICOM segmentation or structure set as a label map.

    Args:
        path: the file.
        grid: shape and affine of the volume that it belongs to.
        values: name -> value of segments called so (see `plain_name`); others get values that are free, in their order.

    Returns:
        (X, Y, Z) int16 on the grid with the segments' names. Where segments overlap, the later one wins.

    Raises:
        BundleError: it cannot be read, holds no segment, or does not lie on the volume's voxels.
    """
    shape, affine = grid
    dataset = _dataset(path)
    read = segments_on_grid if dataset.SOPClassUID in SEGMENTATIONS else regions_on_grid
    try:
        found = list(read(dataset, shape, np.asarray(affine)))
    except OtherGridError as error:
        expected = "the segmentation of this very volume, or a NIfTI on its grid"
        raise volume_error("the segmentation is not on the volume's grid", path, expected, error) from error
    except Exception as error:  # pydicom raises many types for a damaged or an incomplete file
        raise _unreadable(path, error) from error
    if not found:
        raise volume_error("the segmentation is empty", path, "segments or regions with names", "none")
    names = _numbered(distinct_names([one.name for one in found]), values)
    labels, overlap = np.zeros(tuple(shape), np.int16), 0
    for value, one in zip(names.values(), found, strict=True):
        places = tuple(one.voxels.T)
        overlap += int(np.count_nonzero(labels[places]))
        labels[places] = value
    remarks = [f"{overlap} voxels lie in several segments; the later segment counts."] if overlap else []
    if cut := [name for name, one in zip(names, found, strict=True) if one.is_cut]:
        remarks.append(f"Contours that reach beyond the volume were cut off there: {', '.join(cut)}.")
    segments = tuple(one.name for one in found)
    return Volume(labels, np.asarray(affine), tuple(remarks), names, segments=segments)


def check_label_object(path: Path) -> None:
    """Raises BundleError unless the file can be read as a segmentation or structure set."""
    _dataset(path)


def _numbered(names: Sequence[str], values: Mapping[str, int]) -> dict[str, int]:
    """Name -> its value where it is known, else the smallest that no other has."""
    known = {plain_name(name): value for name, value in values.items()}
    free = iter(sorted(set(range(1, len(names) + len(known) + 1)) - set(known.values())))
    return {name: known[plain_name(name)] if plain_name(name) in known else next(free) for name in names}


def _dataset(path: Path) -> Any:
    """The whole file, as pydicom reads it."""
    try:
        import pydicom
    except ImportError as error:
        raise BundleError(
            "DICOM segmentations cannot be read here", file=path, expected="the package pydicom: pip install pydicom"
        ) from error
    try:
        dataset = pydicom.dcmread(path)
        storage = str(dataset.SOPClassUID)
    except Exception as error:  # see above
        raise _unreadable(path, error) from error
    if storage not in (*SEGMENTATIONS, STRUCTURE_SET):
        expected = "a DICOM segmentation (SEG) or RT structure set (RTSTRUCT)"
        raise volume_error("this DICOM file is no segmentation", path, expected, dataset.SOPClassUID.name)
    return dataset


def _unreadable(path: Path, error: Exception) -> BundleError:
    expected = "a whole file: export it again, or save the segmentation as NIfTI"
    return volume_error("the DICOM segmentation cannot be read", path, expected, in_short(error))
