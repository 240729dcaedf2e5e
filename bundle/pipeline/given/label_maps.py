"""Label maps that the user gave: which, and those from DICOM as NIfTI on their cases' grids, as stages read them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np

from bundle.pipeline.given.named_cases import label_maps_of, missing_label_maps
from bundle.pipeline.settings import RunSettings
from bundle.pipeline.training_folder import image_hashes
from scripts.common.affines import is_same
from scripts.common.errors import BundleError
from scripts.common.files import read_result, write_nifti
from scripts.common.work_folder import WorkFolder
from scripts.data.cohort import Cohort
from scripts.data.reading.dicom_headers import named_series
from scripts.data.reading.dicom_series import open_series
from scripts.data.volume_io import find_label_maps, holds_labels, is_dicom_series, read_labels


def accepted_labels(settings: RunSettings, cohort: Cohort | None = None) -> dict[str, Path]:
    """Case -> label map that the user accepted, in the order of names.

    Args:
        settings: what the user asked for: a folder, or names of cases, see `label_maps_of`.
        cohort: whose series tell the case of a DICOM file that is not called like one, as archives name them by UIDs.

    Raises:
        BundleError: the folder is missing, or two label maps are of one case; of names see `label_maps_of`.
    """
    if settings.accepted is None:
        return {}
    if not isinstance(settings.accepted, Path):
        images = None if cohort is None else image_hashes(cohort)
        return label_maps_of(settings.accepted, WorkFolder(Path(settings.output).absolute()), images)
    if not settings.accepted.is_dir():
        raise missing_label_maps(settings.accepted)
    return label_maps_in(settings.accepted, cohort)


def label_maps_in(folder: Path, cohort: Cohort | None) -> dict[str, Path]:
    """Case -> label map of a folder; for the cohort see `accepted_labels`.

    Raises:
        BundleError: two label maps are of one case.
    """
    found: dict[str, Path] = {}
    for name, file in find_label_maps(folder).items():
        case = name if cohort is None or name in cohort.cases else _case_of(file, cohort) or name
        if case in found:
            raise BundleError(
                "two accepted label maps are of one case", case=case, stage="settings", file=file, found=found[case]
            )
        found[case] = file.absolute()
    return found


def accepted_places(settings: RunSettings, cohort: Cohort) -> dict[str, Path]:
    """The same, where the stages read them: see `as_nifti` and `keep_accepted`."""
    work, files = WorkFolder(cohort.output_dir), accepted_labels(settings, cohort)
    if isinstance(settings.accepted, Path):
        return {case: as_nifti(file, case, work) for case, file in files.items()}
    return {case: work.accepted.label(case) for case in files}


def _case_of(file: Path, cohort: Cohort) -> str | None:
    """The case whose DICOM series a label map from DICOM refers to."""
    if not holds_labels(file):
        return None
    series = named_series(file)
    sources = {name: case.source for name, case in cohort.cases.items() if is_dicom_series(case.source)}
    return next((name for name, source in sources.items() if open_series(source).images[0].series in series), None)


def as_nifti(file: Path, case: str, work: WorkFolder) -> Path:
    """Where the stages read a label map that was given for a case: itself, or what `convert_given` makes of DICOM."""
    return work.given.label(case) if holds_labels(file) else file.absolute()


def convert_given(settings: RunSettings, cohort: Cohort) -> None:
    """Write what was given as DICOM to `OUTPUT/given`, unless it is there already.

    Raises:
        BundleError: a label map does not lie on its case's grid.
    """
    work, given = WorkFolder(cohort.output_dir), accepted_labels(settings, cohort)
    if settings.support_mask is not None and cohort.support is not None:
        given[cohort.support] = settings.support_mask
    for case, file in given.items():
        if not holds_labels(file):
            continue
        label = read_labels(file, cohort.classes, cohort.cases[case].grid)
        array = label.array.astype(np.uint8)
        with suppress(BundleError):
            held, affine = read_result(work.given.label(case))
            if np.array_equal(held, array) and is_same(affine, label.affine):
                continue
        write_nifti(work.given.label(case), array, label.affine)
