"""NRRD and MetaImage files, segmentations of 3D Slicer among them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from scripts.data.reading.detached_data import data_files
from scripts.data.reading.grid_limits import check_grid
from scripts.data.reading.slicer_segments import Segment, merge_layers, segments_of
from scripts.data.reading.volume import LPS_TO_RAS, Volume, some_names, volume_error

NRRD_SUFFIXES = (".nrrd", ".nhdr")
NO_SPACE = "no space"
ANATOMICAL = ("left-posterior-superior", "right-anterior-superior", "left-anterior-superior")  # NRRD's words


def read_itk(path: Path) -> Volume:
    """Voxels as stored; the segments of a segmentation as one label map, with their names.

    Raises:
        BundleError: a data file is missing, axes of unknown directions, colours, or a grid that is none of a CT.
    """
    missing = [file for file in data_files(path) if not file.exists()]
    if missing:
        raise volume_error("the header's data file is missing", path, "its voxels beside it", some_names(missing))
    reader = _header(path)
    shape, affine = _grid(reader)
    space = reader.GetMetaData("NRRD_space") if reader.HasMetaDataKey("NRRD_space") else NO_SPACE
    is_nrrd = path.suffix.lower() in NRRD_SUFFIXES  # MetaImage has one space alone
    if (is_nrrd or space != NO_SPACE) and space.removesuffix("-time") not in ANATOMICAL:
        raise volume_error("the header does not say where left and right are", path, " or ".join(ANATOMICAL), space)
    components = reader.GetNumberOfComponents()
    segments = segments_of({key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()}, components)
    if components != 1 and not segments:
        found = f"{components} numbers a voxel"
        raise volume_error("the volume has colours or complex values", path, "one number a voxel", found)
    check_grid(path, shape, affine, cropped=bool(segments))
    stored = sitk.GetArrayFromImage(reader.Execute())
    if segments:
        return _label_map(path, stored, affine, segments)
    return Volume(stored.transpose(), affine)


def peek_itk(path: Path) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape and affine by the header alone, unchecked."""
    return _grid(_header(path))


def _label_map(path: Path, stored: np.ndarray, affine: np.ndarray, segments: list[Segment]) -> Volume:
    layers = np.moveaxis(stored, -1, 0) if stored.ndim == 4 else stored[None]
    beyond = [segment.name for segment in segments if not 0 <= segment.layer < len(layers)]
    if beyond:
        raise volume_error("the segmentation lacks a layer", path, f"{len(layers)} layers", ", ".join(beyond))
    labels, names, overlap = merge_layers(layers.transpose(0, 3, 2, 1), segments)
    remark = f"{overlap} voxels lie in several segments; the later segment counts."
    given = tuple(segment.name for segment in segments)
    return Volume(labels, affine, (remark,) if overlap else (), names, segments=given)


def _header(path: Path) -> sitk.ImageFileReader:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return reader


def _grid(reader: sitk.ImageFileReader) -> tuple[tuple[int, ...], np.ndarray]:
    shape, affine = tuple(reader.GetSize()), np.eye(4)
    if len(shape) == 3:
        affine[:3, :3] = np.asarray(reader.GetDirection()).reshape(3, 3) * np.asarray(reader.GetSpacing())
        affine[:3, 3] = reader.GetOrigin()
        affine = LPS_TO_RAS @ affine
    return shape, affine
