"""The studies of a DICOMweb server: strokes come as segmentations from any viewer, results go back as such."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset

from bundle.dicom.facts import BY_USER, ClassFacts, maker
from bundle.dicom.segmentation import segmentation
from bundle.dicom.source import read_source
from bundle.dicom.terms import anatomy_of
from bundle.monai_label.names import OBJECT, SUBMITTED
from bundle.monai_label.studies.mirror import MirroredDatastore
from bundle.monai_label.studies.pacs import Pacs
from bundle.monai_label.submissions import names_of_values, refuse_same_rows
from bundle.report.pictures import colours_of
from scripts.common.errors import BundleError
from scripts.common.files import atomic_path, sha256_of_file, write_nifti
from scripts.data.volume_io import Volume, peek_grid, read_labels

logger = logging.getLogger(__name__)

SUBMITTED_HERE = "Submitted in MONAI Label"


class DicomwebDatastore(MirroredDatastore):
    """Series of a DICOMweb server; its segmentations are what users submitted.

    Args:
        folder: keeps what was fetched, conversions and labels.
        pacs: the server.
        in_use: see `MirroredDatastore`.
    """

    def __init__(self, folder: Path, pacs: Pacs, in_use: Callable[[], bool] = lambda: False) -> None:
        self.pacs = pacs
        super().__init__(folder, pacs, in_use)

    def fetch_submissions(self) -> None:
        """Take the newest segmentation of each series that a user made, and forget those that are gone.

        One that cannot be read, or has two segments of one name, is told and left out; what was taken before it stays.

        Raises:
            BundleError: the server does not answer.
        """
        newest: dict[str, Dataset] = {}
        for header in self.pacs.segmentations():
            study = referenced_series(header)
            if study is None or study not in self.source.studies() or is_result(header):
                continue
            if study not in newest or _made(header) > _made(newest[study]):
                newest[study] = header
        for study in self.list_images():
            self.renew(study)
            taken = self.get_label_info(study, SUBMITTED).get(OBJECT)
            if study in newest and str(newest[study].SOPInstanceUID) != taken:
                try:
                    self._take(study, newest[study])
                except BundleError as error:
                    error.file = f"the segmentation {newest[study].SOPInstanceUID} of the server"  # ours was fetched
                    why = " ".join(str(error.within(None, None)).split())
                    stays = "" if taken is None else "; the one taken before stays"
                    print(f"{study}: its segmentation is left out: {why}{stays}", flush=True)
            elif taken is not None and study not in newest:
                self.remove_label(study, SUBMITTED)

    def hand_out(self, study: str, segmentation: Path) -> None:
        """Store a result on the server."""
        self.pacs.store(segmentation)

    def take_submission(self, study: str, label: Volume, file: Path, info: dict[str, Any]) -> dict[str, Any]:
        """Store it on the server, unless it comes from there; if that fails it is saved nowhere."""
        if OBJECT in info:
            return info
        made = self._as_segmentation(study, label, file, info)
        with tempfile.TemporaryDirectory() as folder:
            stored = Path(folder) / "submitted.dcm"
            with atomic_path(stored) as temporary:
                made.save_as(temporary, enforce_file_format=True)
            self.pacs.store(stored)
        return {**info, OBJECT: str(made.SOPInstanceUID)}

    def _take(self, study: str, header: Dataset) -> None:
        shape, affine = peek_grid(self.get_image_uri(study))
        with tempfile.TemporaryDirectory() as folder:
            file, label = Path(folder) / "segmentation.dcm", Path(folder) / "label.nii.gz"
            self.pacs.fetch(header, file)
            segments = read_labels(file, grid=(shape, affine))
            write_nifti(label, segments.array.astype(np.uint8), segments.affine)
            rows = [{"name": name, "idx": value} for name, value in segments.names.items()]
            about = {"label_info": rows, OBJECT: str(header.SOPInstanceUID)}
            self.save_label(study, str(label), SUBMITTED, about)
        logger.info("%s: took the segmentation with %s", study, ", ".join(segments.names))

    def _as_segmentation(self, study: str, label: Volume, file: Path, info: dict[str, Any]) -> Dataset:
        rows = info.get("label_info") or []
        refuse_same_rows(rows, study, file)
        series = read_source(self.pacs.volume(study))
        values = [int(value) for value in np.unique(label.array) if value > 0]
        names = names_of_values(rows, values)
        if not names:
            raise BundleError(
                "the submitted label does not say what its values mean",
                case=study,
                stage="MONAI Label",
                expected='"label_info": [{"name": ..., "idx": ...}] in its params, as 3D Slicer sends it',
            )
        colours = colours_of(names)
        facts = [
            ClassFacts(name, value, BY_USER, True, colours[name], anatomy_of(name)) for name, value in names.items()
        ]
        placed = series.labels(label.array.astype(np.uint8), label.affine, file)
        mark = f"{sha256_of_file(file)} {sorted(names.items())}"
        made = segmentation(placed, series, facts, maker(), mark, datetime.now())
        made.SeriesDescription = made.ContentDescription = SUBMITTED_HERE
        return made


def is_result(header: Dataset) -> bool:
    """Whether a segmentation is one of our results, not what a user submitted."""
    return str(header.get("Manufacturer", "")) == maker().name and header.get("SeriesDescription") != SUBMITTED_HERE


def referenced_series(header: Dataset) -> str | None:
    """The series that a segmentation was drawn on; None where it does not say."""
    rows = header.get("ReferencedSeriesSequence") or []
    return str(rows[0].get("SeriesInstanceUID")) if rows else None


def _made(header: Dataset) -> tuple[str, str]:
    """Date and time, of what was made last."""
    dates = [str(header.get(name) or "") for name in ("ContentDate", "SeriesDate", "InstanceCreationDate")]
    times = [str(header.get(name) or "") for name in ("ContentTime", "SeriesTime", "InstanceCreationTime")]
    return max(zip(dates, times, strict=True))
