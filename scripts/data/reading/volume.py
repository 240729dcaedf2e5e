"""A volume in memory, what its file's name says, and the error for a file that is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from scripts.common.affines import spacing_of
from scripts.common.errors import BundleError
from scripts.common.names import some_of

NIFTI_SUFFIXES = (".nii.gz", ".nii")
SEGMENTATION_SUFFIXES = (".seg.nrrd", ".seg.nhdr")  # of 3D Slicer
ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
SUFFIXES = NIFTI_SUFFIXES + SEGMENTATION_SUFFIXES + ITK_SUFFIXES  # the longest that fits comes first

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Volume:
    """One scan or label map.

    Args:
        array: (X, Y, Z) float32 Hounsfield units or intensities of MR, or integer labels.
        affine: (4, 4) float64, voxel centre [i, j, k, 1] to world millimetres, RAS+.
        remarks: sentences on what reading had to do or to assume.
        names: class name -> value, where the file itself names them (segments of 3D Slicer).
        modality: as DICOM says it, such as "CT"; "" where nothing does.
        segments: the names that the file gives its segments, in its order; two may be the same.
        source_mark: what its source was like before it was read, see `volume_cache.source_mark`; None if nobody looked.
    """

    array: np.ndarray
    affine: np.ndarray
    remarks: tuple[str, ...] = ()
    names: Mapping[str, int] = field(default_factory=dict)
    modality: str = ""
    segments: tuple[str, ...] = ()
    source_mark: Any = None

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxel centres along X, Y, Z."""
        return spacing_of(self.affine)


def has_suffix(path: str | Path, suffixes: tuple[str, ...]) -> bool:
    """Whether the file's name ends with one of the suffixes, in whatever case."""
    return Path(path).name.lower().endswith(suffixes)


def is_nifti(path: str | Path) -> bool:
    """Whether the file's name says NIfTI."""
    return has_suffix(path, NIFTI_SUFFIXES)


def case_id(path: str | Path) -> str:
    """The file's or folder's name without the volume suffix: `a/b.nii.gz` -> `b`."""
    name = Path(path).name
    suffix = next((suffix for suffix in SUFFIXES if has_suffix(name, (suffix,))), "")
    return name[: len(name) - len(suffix)] if suffix else name


def volume_error(problem: str, path: Path, expected: object, found: object) -> BundleError:
    """The error for a file that cannot be taken as a volume."""
    return BundleError(problem, case=case_id(path), stage="cohort", file=path, expected=expected, found=found)


def some_names(paths: list[Path], most: int = 5) -> str:
    """The files' names, the first few of many; what is no UTF-8 in them becomes a question mark."""
    return some_of([path.name.encode("utf-8", "replace").decode("utf-8") for path in paths], most)
