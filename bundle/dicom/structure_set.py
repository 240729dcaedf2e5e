"""A label map as an RT structure set (RTSTRUCT): closed contours in each slice, in mm of the patient."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, ImplicitVRLittleEndian, RTStructureSetStorage, generate_uid
from scipy import ndimage

from bundle.dicom.contours import outlines
from bundle.dicom.facts import ClassFacts, Maker
from bundle.dicom.source import STAGE, SourceSeries, copy_patient_and_study, stamp
from bundle.dicom.terms import Term
from scripts.common.errors import BundleError
from scripts.data.reading.dicom_series import Frame

STUDY_COMPONENT = "1.2.840.10008.3.1.2.3.1"  # what refers to a study since studies are no objects any more
SERIES_AFTER = 2000  # added to the number of the source series
MOST_SERIES = 2**31 - 1
LONGEST_SHORT = 16  # signs of a short string


def structure_set(
    labels: np.ndarray, source: SourceSeries, facts: Sequence[ClassFacts], by: Maker, mark: str, when: datetime
) -> FileDataset:
    """The structure set, ready to be saved; for the arguments see `segmentation`.

    Raises:
        BundleError: no class has a voxel.
    """
    present = [of_class for of_class in facts if (labels == of_class.value).any()]
    if not present:
        raise BundleError("the label map is empty, so there is nothing to write as DICOM", stage=STAGE)
    made = _empty(source, by, mark, when)
    made.ReferencedFrameOfReferenceSequence = [_frame_of_reference(source)]
    made.StructureSetROISequence = [_region(n, of_class, source) for n, of_class in enumerate(present, start=1)]
    made.ROIContourSequence = [_contours(n, of_class, labels, source) for n, of_class in enumerate(present, start=1)]
    made.RTROIObservationsSequence = [_observation(n, of_class) for n, of_class in enumerate(present, start=1)]
    return made


def _empty(source: SourceSeries, by: Maker, mark: str, when: datetime) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = RTStructureSetStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["RTSTRUCT", mark])
    # The explicit one holds 64 KiB a contour at most, some thousand points.
    meta.TransferSyntaxUID = ImplicitVRLittleEndian
    meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    made = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    made.SpecificCharacterSet = "ISO_IR 192"
    copy_patient_and_study(source.first, made)
    stamp(made, when)
    del made.ContentDate, made.ContentTime  # of images, no structure set has them
    made.SOPClassUID, made.SOPInstanceUID = RTStructureSetStorage, meta.MediaStorageSOPInstanceUID
    made.Modality, made.OperatorsName = "RTSTRUCT", ""
    made.SeriesInstanceUID = generate_uid(entropy_srcs=["RTSTRUCT series", mark])
    made.SeriesNumber = min(MOST_SERIES, max(0, int(source.first.get("SeriesNumber") or 0)) + SERIES_AFTER)
    made.SeriesDescription = f"{by.name}, for research only"
    made.Manufacturer = made.ManufacturerModelName = by.name
    made.SoftwareVersions = by.version
    made.FrameOfReferenceUID = source.first.FrameOfReferenceUID
    made.PositionReferenceIndicator = str(source.first.get("PositionReferenceIndicator", ""))
    made.InstanceNumber = 1
    made.StructureSetLabel = "ONESHOT"
    made.StructureSetName = by.name
    made.StructureSetDescription = f"{by.name} {by.version}, for research only"
    made.StructureSetDate, made.StructureSetTime = made.SeriesDate, made.SeriesTime
    made.ApprovalStatus = "UNAPPROVED"
    return made


def _frame_of_reference(source: SourceSeries) -> Dataset:
    """The study, the series and each slice that contours may lie in."""
    series, study, frame_of_reference = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = source.first.SeriesInstanceUID
    series.ContourImageSequence = [_image(source, frame) for frame in source.frames]
    study.ReferencedSOPClassUID = STUDY_COMPONENT
    study.ReferencedSOPInstanceUID = source.first.StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame_of_reference.FrameOfReferenceUID = source.first.FrameOfReferenceUID
    frame_of_reference.RTReferencedStudySequence = [study]
    return frame_of_reference


def _image(source: SourceSeries, frame: Frame) -> Dataset:
    header, image = source.datasets[frame.image.path], Dataset()
    image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    if frame.image.size[2] > 1:
        image.ReferencedFrameNumber = frame.index + 1
    return image


def _region(number: int, of_class: ClassFacts, source: SourceSeries) -> Dataset:
    region = Dataset()
    region.ROINumber = number
    region.ReferencedFrameOfReferenceUID = source.first.FrameOfReferenceUID
    region.ROIName, region.ROIDescription = of_class.label, of_class.description
    region.ROIGenerationAlgorithm = "MANUAL" if of_class.by_user else "AUTOMATIC"
    return region


def _contours(number: int, of_class: ClassFacts, labels: np.ndarray, source: SourceSeries) -> Dataset:
    item = Dataset()
    item.ReferencedROINumber, item.ROIDisplayColor = number, list(of_class.rgb)
    item.ContourSequence = list(_slice_contours(labels, of_class.value, source))
    return item


def _slice_contours(labels: np.ndarray, value: int, source: SourceSeries) -> Iterator[Dataset]:
    (box,) = ndimage.find_objects((labels == value).astype(np.uint8))
    corner = np.array([box[0].start, box[1].start])
    number = 0
    for index in range(box[2].start, box[2].stop):
        frame = source.frames[index]
        for ring in outlines(labels[box[0], box[1], index] == value):
            number += 1
            points_mm = frame.position_mm + (ring + corner) @ frame.grid.axes_mm.T
            contour = Dataset()
            contour.ContourNumber = number
            contour.ContourImageSequence = [_image(source, frame)]
            contour.ContourGeometricType = "CLOSED_PLANAR"
            contour.NumberOfContourPoints = len(points_mm)
            contour.ContourData = [f"{coordinate:.6f}" for coordinate in points_mm.ravel()]
            yield contour


def _observation(number: int, of_class: ClassFacts) -> Dataset:
    observation = Dataset()
    observation.ObservationNumber = observation.ReferencedROINumber = number
    observation.ROIObservationLabel = of_class.label[:LONGEST_SHORT]
    observation.RTROIInterpretedType, observation.ROIInterpreter = "ORGAN", ""
    code = _code(of_class.anatomy.structure)
    if of_class.anatomy.side is not None:
        code.SegmentedPropertyTypeModifierCodeSequence = [_code(of_class.anatomy.side)]
    observation.RTROIIdentificationCodeSequence = [code]
    return observation


def _code(term: Term) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = term.code, term.scheme, term.meaning
    return code
