"""Label maps of DICOM series as DICOM, in folders beside them: what is made again, and what is kept."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bundle.dicom.facts import ClassFacts, Maker, class_facts, maker
from scripts.common.errors import BundleError
from scripts.common.failures import blamed, stops_every_case
from scripts.common.files import atomic_path, read_result
from scripts.common.kept_changes import set_aside_changed
from scripts.common.made_of import fingerprint, is_whole, recorded_hash, write_record
from scripts.common.work_folder import DicomFolder, LabelFolder
from scripts.data.volume_cache import fingerprint as source_fingerprint

if TYPE_CHECKING:
    from bundle.dicom.source import SourceSeries

logger = logging.getLogger(__name__)

STAGE = "dicom"
VERSION = 1  # raise it when the same label map would be written differently
Write = Callable[..., Any]  # `segmentation` or `structure_set`


@dataclass(frozen=True)
class Export:
    """What is written as DICOM.

    Attributes:
        labels: the label maps.
        classes: name -> value.
        checks: folder of the self-check's records; None where there was none.
        structure_sets: also as RT structure sets.
    """

    labels: LabelFolder
    classes: Mapping[str, int]
    checks: Path | None = None
    structure_sets: bool = False

    def run(
        self, sources: Mapping[str, Path], marks: Mapping[str, str] | None = None
    ) -> tuple[list[str], dict[str, BundleError]]:
        """Write the label map of each case whose DICOM series is named; what is there already is kept.

        Args:
            sources: case -> its series: a folder, or a file of it.
            marks: case -> fingerprint of its series, where that is known.

        Returns:
            Cases of which anything was written, and why others could not be.

        Raises:
            BundleError: highdicom is missing, or nothing can be written at all, as on a full disk.
        """
        kinds = [(self.labels.segmentations, _segmentation_writer())]
        if self.structure_sets:
            from bundle.dicom.structure_set import structure_set

            kinds.append((self.labels.structure_sets, structure_set))
        done, failed, by = [], {}, maker()
        for case, source in sources.items():
            try:
                with blamed(STAGE, case):
                    if self._export(case, source, (marks or {}).get(case), kinds, by):
                        done.append(case)
            except BundleError as error:
                if stops_every_case(error):
                    raise
                failed[case] = error
        return done, failed

    def _export(
        self, case: str, source: Path, mark: str | None, kinds: list[tuple[DicomFolder, Write]], by: Maker
    ) -> bool:
        from bundle.dicom.source import read_source

        file = self.labels.label(case)
        check = None if self.checks is None else self.checks / f"{case}.json"
        facts = class_facts(self.classes, self.labels.record(case), check)
        about = [asdict(by), [asdict(fact) for fact in facts]]
        content = [mark or source_fingerprint(source), recorded_hash(self.labels.record(case), file)]
        inputs = fingerprint([VERSION, about, content])
        todo = [(folder, write) for folder, write in kinds if not is_whole(folder.record(case), inputs)]
        if not todo:
            return False
        series, (labels, affine) = read_source(source), read_result(file)
        placed = series.labels(labels, affine, file)
        for folder, write in todo:
            self._write(case, folder, write, placed, series, facts, by, inputs)
        return True

    def _write(
        self,
        case: str,
        folder: DicomFolder,
        write: Write,
        labels: np.ndarray,
        series: SourceSeries,
        facts: list[ClassFacts],
        by: Maker,
        inputs: str,
    ) -> None:
        target = folder.label(case)
        if target.exists() and not folder.record(case).exists():
            raise BundleError(
                "a file of this name is there that no export made",
                file=target,
                expected="another output folder, or this one without the file",
            )
        made = write(labels, series, facts, by, inputs, datetime.now())
        set_aside_changed(folder.record(case), target)
        with atomic_path(target) as temporary:
            made.save_as(temporary, enforce_file_format=True)
        write_record(folder.record(case), {"case": case}, inputs, [target])
        logger.info("%s: wrote %s", case, target)


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
