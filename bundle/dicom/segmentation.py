"""A label map as a DICOM segmentation (SEG): one binary segment a class, a frame where it has voxels."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import highdicom as hd
import numpy as np
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from bundle.dicom.facts import ClassFacts, Maker
from bundle.dicom.source import STAGE, SourceSeries, copy_patient_and_study, stamp
from bundle.dicom.terms import ANATOMICAL_STRUCTURE, PRIVATE, Term
from scripts.common.errors import BundleError

SERIES_AFTER = 1000  # added to the number of the source series
MOST_SERIES = 2**31 - 1
UTF_8 = "ISO_IR 192"


def segmentation(
    labels: np.ndarray, source: SourceSeries, facts: Sequence[ClassFacts], by: Maker, mark: str, when: datetime
) -> Dataset:
    """The segmentation, ready to be saved.

    Args:
        labels: (columns, rows, slices) label values on the series' grid.
        source: the series.
        facts: of the classes; those without a voxel are left out.
        by: the program.
        mark: fingerprint of the content: the same content gets the same UIDs.
        when: it is made.

    Raises:
        BundleError: no class has a voxel, or the series is one that a segmentation cannot refer to.
    """
    present = [of_class for of_class in facts if (labels == of_class.value).any()]
    if not present:
        raise BundleError("the label map is empty, so there is nothing to write as DICOM", stage=STAGE)
    numbers = np.zeros(256, np.uint8)
    numbers[[of_class.value for of_class in present]] = np.arange(1, len(present) + 1)
    slices = numbers[labels].transpose(2, 1, 0)
    images, pixels = _source_images(source, slices)
    identified = hd.AlgorithmIdentificationSequence(
        name=by.name, family=codes.DCM.ArtificialIntelligence, version=by.version
    )
    made = hd.seg.Segmentation(
        source_images=images,
        pixel_array=pixels,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_described(n, of_class, identified) for n, of_class in enumerate(present, start=1)],
        series_instance_uid=generate_uid(entropy_srcs=["SEG series", mark]),
        series_number=min(MOST_SERIES, max(0, int(source.first.get("SeriesNumber") or 0)) + SERIES_AFTER),
        sop_instance_uid=generate_uid(entropy_srcs=["SEG", mark]),
        instance_number=1,
        manufacturer=by.name,
        manufacturer_model_name=by.name,
        software_versions=by.version,
        device_serial_number=by.version,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        content_label="ONESHOT",
        content_description=f"{by.name}, for research only",
        series_description=f"{by.name}, for research only",
        specific_character_set=UTF_8,
    )
    copy_patient_and_study(source.first, made)
    stamp(made, when)
    made.ContentCreatorName = ""  # nobody, but the standard wants it there, and highdicom leaves it out
    made.SegmentSequence = list(made.SegmentSequence)
    if any(of_class.anatomy.structure.scheme == PRIVATE for of_class in present):
        made.CodingSchemeIdentificationSequence = [_private_scheme(by)]
    return made


def _source_images(source: SourceSeries, slices: np.ndarray) -> tuple[list[Dataset], np.ndarray]:
    """The series' headers, and the (frames, rows, columns) that belong to them."""
    if len(source.datasets) == len(source.frames):
        images = [source.datasets[frame.image.path] for frame in source.frames]
        orientation = images[0].get("ImageOrientationPatient")
        for image in images:
            if image.get("ImageOrientationPatient") is not None:  # equal but for the last digits
                image.ImageOrientationPatient = orientation
            if not image.get("SliceThickness"):
                image.SliceThickness = f"{source.slice_mm:.6g}"
        if any(frame.index or frame.image.size[2] > 1 for frame in source.frames):
            raise _unusual(source, "several files of several frames")
        return images, slices
    if len(source.datasets) > 1:
        raise _unusual(source, "several files of several frames")
    (image,) = source.datasets.values()
    count = int(image.get("NumberOfFrames", 1))
    pixels = np.zeros((count, *slices.shape[1:]), np.uint8)
    pixels[[frame.index for frame in source.frames]] = slices
    if count != len(source.frames):
        raise _unusual(source, f"{count} frames, of which {len(source.frames)} are the volume")
    return [image], pixels


def _unusual(source: SourceSeries, found: str) -> BundleError:
    return BundleError(
        "a segmentation can refer to single slices, or to one file with all slices",
        stage=STAGE,
        file=source.path,
        expected="the series in one of these forms",
        found=found,
    )


def _described(
    number: int, of_class: ClassFacts, identified: hd.AlgorithmIdentificationSequence
) -> hd.seg.SegmentDescription:
    kinds = hd.seg.SegmentAlgorithmTypeValues
    described = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=of_class.label,
        segmented_property_category=coded(ANATOMICAL_STRUCTURE),
        segmented_property_type=coded(of_class.anatomy.structure),
        algorithm_type=kinds.MANUAL if of_class.by_user else kinds.AUTOMATIC,
        algorithm_identification=None if of_class.by_user else identified,
        display_color=hd.color.CIELabColor.from_rgb(*of_class.rgb),
    )
    if of_class.anatomy.side is not None:
        side = [coded(of_class.anatomy.side)]
        described.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = side
    described.SegmentDescription = of_class.description
    return described


def coded(term: Term) -> hd.sr.CodedConcept:
    """The term as DICOM writes it."""
    return hd.sr.CodedConcept(term.code, term.scheme, term.meaning)


def _private_scheme(by: Maker) -> Dataset:
    scheme = Dataset()
    scheme.CodingSchemeDesignator = PRIVATE
    scheme.CodingSchemeName = f"Class names of {by.name}"
    scheme.CodingSchemeVersion = by.version
    return scheme
