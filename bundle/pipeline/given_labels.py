"""Label maps that the user gave: which, and those from DICOM as NIfTI on their cases' grids, as stages read them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np

from bundle.pipeline.settings import RunSettings
from scripts.common.errors import BundleError
from scripts.common.files import read_result, write_nifti
from scripts.common.work_folder import WorkFolder
from scripts.data.cohort import Cohort
from scripts.data.volume_io import find_label_maps, holds_labels, read_labels


def accepted_labels(settings: RunSettings) -> dict[str, Path]:
    """Case -> label map that the user accepted, in the order of names.

    Raises:
        BundleError: the folder is missing.
    """
    if settings.accepted is None:
        return {}
    if not settings.accepted.is_dir():
        problem, expected = "the folder of accepted label maps is missing", "a folder of label maps ID.nii.gz"
        raise BundleError(problem, stage="settings", file=settings.accepted, expected=expected)
    return {case: file.absolute() for case, file in find_label_maps(settings.accepted).items()}


def as_nifti(file: Path, case: str, work: WorkFolder) -> Path:
    """Where the stages read a label map that was given for a case: itself, or what `convert_given` makes of DICOM."""
    return work.given.label(case) if holds_labels(file) else file.absolute()


def convert_given(settings: RunSettings, cohort: Cohort) -> None:
    """Write what was given as DICOM to `OUTPUT/given`, unless it is there already.

    Raises:
        BundleError: a label map does not lie on its case's grid.
    """
    work, given = WorkFolder(cohort.output_dir), accepted_labels(settings)
    if settings.support_mask is not None and cohort.support is not None:
        given[cohort.support] = settings.support_mask
    for case, file in given.items():
        if not holds_labels(file):
            continue
        label = read_labels(file, cohort.classes, cohort.cases[case].grid)
        array = label.array.astype(np.uint8)
        with suppress(BundleError):
            if np.array_equal(read_result(work.given.label(case))[0], array):
                continue
        write_nifti(work.given.label(case), array, label.affine)
