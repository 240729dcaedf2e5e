"""The DICOM series that a label map belongs to: its slices as pydicom reads them, and the label map on its grid."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.valuerep import DA, TM

from scripts.common.errors import BundleError, in_short
from scripts.data.reading.alignment import onto_grid
from scripts.data.reading.dicom_series import Frame, volume_frames
from scripts.data.reading.volume import LPS_TO_RAS

STAGE = "dicom"
EMPTY_IF_UNKNOWN = (  # what every object must have and may leave empty (type 2)
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"),
    *("ReferringPhysicianName", "StudyID", "AccessionNumber"),
)
NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
PATIENT_AND_STUDY = (  # of patient and study, where the series tells them
    *EMPTY_IF_UNKNOWN,
    *("IssuerOfPatientID", "OtherPatientIDs", "EthnicGroup", "PatientAge", "PatientSize", "PatientWeight"),
    *("StudyInstanceUID", "StudyDescription", "PatientIdentityRemoved", "DeidentificationMethod"),
    *("DeidentificationMethodCodeSequence", "LongitudinalTemporalInformationModified"),
    *("ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialProtocolName", "ClinicalTrialSiteID"),
    *("ClinicalTrialSiteName", "ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID"),
    *("ClinicalTrialTimePointID", "ClinicalTrialTimePointDescription", "ClinicalTrialCoordinatingCenterName"),
)
SEXES = ("M", "F", "O")


@dataclass(frozen=True)
class SourceSeries:
    """A series whose slices are a volume.

    Attributes:
        path: the folder, or a file of the series.
        frames: of the slices, in their order.
        datasets: file -> its header without pixels; what must be there and is not known is empty.
        affine: (4, 4) from column, row, slice to mm, RAS.
    """

    path: Path
    frames: tuple[Frame, ...]
    datasets: dict[Path, Dataset]
    affine: np.ndarray

    @property
    def first(self) -> Dataset:
        """The header of the first slice: patient, study and series are the same in all."""
        return self.datasets[self.frames[0].image.path]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows, slices."""
        return (*self.frames[0].grid.size, len(self.frames))

    @property
    def slice_mm(self) -> float:
        """Distance of neighbouring slices, across them."""
        across = self.frames[-1].position_mm - self.frames[0].position_mm
        return abs(float(across @ self.frames[0].grid.normal)) / max(1, len(self.frames) - 1)

    def labels(self, labels: np.ndarray, affine: np.ndarray, file: Path) -> np.ndarray:
        """A label map on the series' own grid.

        Args:
            labels: (X, Y, Z), on a grid that may be flipped or permuted, as after a conversion to NIfTI.
            affine: of that grid, in RAS.
            file: it is from, for the message.

        Raises:
            BundleError: it lies on another grid.
        """
        turned = onto_grid(labels, affine, self.shape, self.affine)
        if turned is None:
            raise BundleError(
                "the label map does not lie on the series' voxels",
                stage=STAGE,
                file=file,
                expected=f"the grid of {self.path}",
                found="another grid",
            )
        return turned


def read_source(source: Path) -> SourceSeries:
    """The headers of a series.

    Raises:
        BundleError: it is no volume, or lacks what a label map must refer to.
    """
    frames, affine = volume_frames(source)
    datasets: dict[Path, Dataset] = {}
    for file in dict.fromkeys(frame.image.path for frame in frames):
        try:
            datasets[file] = _completed(dcmread(file, stop_before_pixels=True))
        except Exception as error:  # pydicom raises many types for a damaged file
            problem, expected = "the DICOM header cannot be read", "the series as it came from the archive"
            raise BundleError(problem, stage=STAGE, file=file, expected=expected, found=in_short(error)) from error
        missing = [name for name in NEEDED if not datasets[file].get(name)]
        if missing:
            raise BundleError(
                "the series lacks identifiers that a DICOM label map refers to",
                stage=STAGE,
                file=file,
                expected="a series whose anonymisation kept or replaced them",
                found="no " + ", ".join(missing),
            )
    return SourceSeries(source, tuple(frames), datasets, LPS_TO_RAS @ affine)


def copy_patient_and_study(source: Dataset, target: Dataset) -> None:
    """Copy patient and study; what must be there and is not known is empty."""
    for name in PATIENT_AND_STUDY:
        if name in source:
            target[name] = source[name]


def stamp(dataset: Dataset, when: datetime) -> None:
    """When the content was made, as every object tells it."""
    date, time = when.strftime("%Y%m%d"), when.strftime("%H%M%S")
    dataset.InstanceCreationDate = dataset.SeriesDate = dataset.ContentDate = date
    dataset.InstanceCreationTime = dataset.SeriesTime = dataset.ContentTime = time


def _completed(dataset: Dataset) -> Dataset:
    """With empty values for what nobody knows, or what no DICOM object can hold."""
    for name in EMPTY_IF_UNKNOWN:
        if name not in dataset or dataset.get(name) is None:
            setattr(dataset, name, "")
    if dataset.PatientSex not in SEXES:
        dataset.PatientSex = ""
    for name, kind in (("PatientBirthDate", DA), ("StudyDate", DA), ("StudyTime", TM)):
        try:
            kind(str(dataset.get(name)))
        except ValueError:
            setattr(dataset, name, "")
    return dataset
