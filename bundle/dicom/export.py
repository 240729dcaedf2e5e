"""Label maps of DICOM series as DICOM, in folders beside them: what is made again, and what is kept."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bundle.dicom.facts import Maker, class_facts, maker
from scripts.common.case_stage import CASES, advance
from scripts.common.errors import BundleError
from scripts.common.failures import blamed, stops_every_case
from scripts.common.files import atomic_path, read_json, read_result, remove_file
from scripts.common.kept_changes import set_aside_changed
from scripts.common.made_of import fingerprint, is_whole, recorded_hash, write_record
from scripts.common.work_folder import DicomFolder, LabelFolder
from scripts.data.volume_cache import fingerprint as source_fingerprint

logger = logging.getLogger(__name__)

STAGE = "dicom"
VERSION = 1  # raise it when the same label map would be written differently
LABEL_MAP = "label_map_sha256"  # of a record
Write = Callable[..., Any]  # `segmentation` or `structure_set`


@dataclass(frozen=True)
class Export:
    """What is written as DICOM.

    Attributes:
        labels: the label maps.
        classes: name -> value.
        checks: folder of the self-check's records; None where there was none.
        structure_sets: also as RT structure sets; those that an earlier export wrote are kept current without that.
    """

    labels: LabelFolder
    classes: Mapping[str, int]
    checks: Path | None = None
    structure_sets: bool = False

    def run(
        self, sources: Mapping[str, Path], marks: Mapping[str, str] | None = None
    ) -> tuple[list[str], dict[str, BundleError]]:
        """Write the label map of each case whose DICOM series is named; what is there already is kept.

        What earlier exports wrote of label maps that are gone or others now is removed.

        Args:
            sources: case -> its series: a folder, or a file of it.
            marks: case -> fingerprint of its series, where that is known.

        Returns:
            Cases of which anything was written, and why others could not be.

        Raises:
            BundleError: highdicom is missing, or nothing can be written at all, as on a full disk.
        """
        self._remove_former(sources)
        if not sources:
            return [], {}
        from bundle.dicom.structure_set import structure_set

        kinds = [(self.labels.segmentations, _segmentation_writer()), (self.labels.structure_sets, structure_set)]
        done, failed, by = [], {}, maker()
        for place, (case, source) in enumerate(sources.items(), start=1):
            try:
                with blamed(STAGE, case):
                    if self._export(case, source, (marks or {}).get(case), kinds, by):
                        done.append(case)
            except BundleError as error:
                if stops_every_case(error):
                    raise
                failed[case] = error
            advance(CASES, place, len(sources))
        return done, failed

    def _export(
        self, case: str, source: Path, mark: str | None, kinds: list[tuple[DicomFolder, Write]], by: Maker
    ) -> bool:
        from bundle.dicom.source import read_source

        file = self.labels.label(case)
        check = None if self.checks is None else self.checks / f"{case}.json"
        facts = class_facts(self.classes, self.labels.record(case), check)
        about = [asdict(by), [asdict(fact) for fact in facts]]
        label_map = recorded_hash(self.labels.record(case), file)
        inputs = fingerprint([VERSION, about, [mark or source_fingerprint(source), label_map]])
        wanted = [(folder, write) for folder, write in kinds if self._is_wanted(folder, case)]
        todo = [(folder, write) for folder, write in wanted if not is_whole(folder.record(case), inputs)]
        for folder, _ in todo:
            _make_room(folder, case)
        if not todo:
            return False
        series, (labels, affine) = read_source(source), read_result(file)
        placed = series.labels(labels, affine, file)
        for folder, write in todo:
            target = folder.label(case)
            made = write(placed, series, facts, by, inputs, datetime.now())
            with atomic_path(target) as temporary:
                made.save_as(temporary, enforce_file_format=True)
            write_record(folder.record(case), {"case": case, LABEL_MAP: label_map}, inputs, [target])
            logger.info("%s: wrote %s", case, target)
        return True

    def _is_wanted(self, folder: DicomFolder, case: str) -> bool:
        """A structure set that is there would else be of a former label map."""
        return self.structure_sets or folder == self.labels.segmentations or folder.record(case).exists()

    def _remove_former(self, but: Collection[str]) -> None:
        """Of cases that nobody asks for."""
        for folder in (self.labels.segmentations, self.labels.structure_sets):
            for record in sorted(folder.path.glob("*.json")):
                if (case := record.stem) not in but and self._is_former(record, case):
                    _make_room(folder, case)
                    logger.warning("%s: its label map is gone or another now; removed %s", case, folder.label(case))

    def _is_former(self, record: Path, case: str) -> bool:
        """Whether an export wrote an object of another label map than the case has now; old records say not which."""
        try:
            content = read_json(record)
            is_ours, noted = {"inputs", "files"} <= set(content), content.get(LABEL_MAP)
        except (BundleError, AttributeError, TypeError):
            return False
        file = self.labels.label(case)
        if not is_ours or not file.exists():
            return is_ours
        return noted not in (None, recorded_hash(self.labels.record(case), file))


def _make_room(folder: DicomFolder, case: str) -> None:
    """Remove what an earlier export wrote, so that it is not taken for current if nothing takes its place.

    Raises:
        BundleError: the file is somebody else's.
    """
    target, record = folder.label(case), folder.record(case)
    if target.exists() and not record.exists():
        raise BundleError(
            "a file of this name is there that no export made",
            file=target,
            expected="another output folder, or this one without the file",
        )
    set_aside_changed(record, target)
    remove_file(target)
    remove_file(record)


def _segmentation_writer() -> Write:
    try:
        from bundle.dicom.segmentation import segmentation
    except ImportError as error:
        raise BundleError(
            "label maps cannot be written as DICOM here",
            stage=STAGE,
            expected="the package highdicom, which `make setup` installs; `export` writes them later",
            found=error,
        ) from error
    return segmentation
