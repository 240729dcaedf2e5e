"""The self-check as a stage: reads what `check_case` judges by, writes what it says (mode `default`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from scripts.common.affines import voxel_ml
from scripts.common.case_stage import CaseStage
from scripts.common.errors import BundleError
from scripts.common.files import open_nifti, read_result, remove_file, sha256_of_file
from scripts.common.made_of import content_mark, fingerprint, label_hash, recorded_hash
from scripts.common.work_folder import LabelFolder, WorkFolder
from scripts.data.cohort import Cohort
from scripts.data.gate.modality import MR
from scripts.data.probability_maps import read_probabilities
from scripts.data.records import PropagationRecord, PseudoLabelRecord
from scripts.data.resampling import nearest_on_grid
from scripts.data.volume_io import Volume, read_labels, read_volume
from scripts.quality.check_case import CaseEvidence, CohortEvidence, calibrate_on_support, check_case
from scripts.quality.evidence import (
    AtlasLabels,
    ClassMeasurement,
    CohortStatistics,
    TrustRule,
    measure_classes,
    stroke_confidence,
)
from scripts.quality.records import NETWORK, PSEUDO_LABEL, STAGE
from scripts.quality.support_calibration import SupportCalibration
from scripts.quality.tissue import Tissue, TissueRange, tissue_shares, tissues


class SelfCheckStage(CaseStage):
    """Writes `ID.json` (see `CheckRecord`) for every case but the support that has a result.

    An object looks at the results once: make another one when they may have changed.

    Args:
        cohort: with support and classes.
        output_dir: the work directory, with propagation, pseudo labels and the support by the selected atlases alone.
        support_mask: label map of the support's whole organs on its own grid.
        support_mask_record: how it grew; None where the user gave it.
        results_dir: label maps to be checked, `ID.nii.gz` on each case's own grid.
        checks_dir: where the records go.
        rule: see `TrustRule`.
        network_dir: the network's own label maps, a further reference where they are no results themselves; None for
            those of the work directory. For the pseudo labels, from which a network learns, they are none.

    Raises:
        BundleError: no support in the cohort.
    """

    name = STAGE
    version = 2  # few cases were not held against the support mask

    def __init__(
        self,
        cohort: Cohort,
        output_dir: str | Path,
        support_mask: str | Path,
        support_mask_record: str | Path | None,
        results_dir: str | Path,
        checks_dir: str | Path,
        rule: TrustRule | None = None,
        network_dir: str | Path | None = None,
    ) -> None:
        if cohort.support is None:
            raise BundleError("the self-check needs a support", stage=STAGE, file=cohort.output_dir)
        self.cohort, self.support, self.rule = cohort, cohort.support, rule or TrustRule()
        self.work = WorkFolder(Path(output_dir).absolute())
        self.support_mask = Path(support_mask)
        self.support_mask_record = None if support_mask_record is None else Path(support_mask_record)
        self.results, self.checks_dir = LabelFolder(Path(results_dir).absolute()), Path(checks_dir)
        network = self.work.network if network_dir is None else LabelFolder(Path(network_dir))
        learnt_from = self.results.path == self.work.pseudo_labels.path
        self.raters = {PSEUDO_LABEL: self.work.pseudo_labels} | ({} if learnt_from else {NETWORK: network})

    def cases(self) -> list[str]:
        """Those that have a result, but the support."""
        others = (case for case in sorted(self.cohort.cases) if case != self.support)
        return [case for case in others if self.results.label(case).exists()]

    def run(self, case_ids: Iterable[str] | None = None) -> list[str]:
        """As `CaseStage.run`. A check of the support is of before it was scribbled, and goes."""
        remove_file(self.record(self.support))
        return super().run(case_ids)

    def record(self, case: str) -> Path:
        """Among `checks_dir`."""
        return self.checks_dir / f"{case}.json"

    def inputs(self, case: str) -> dict[str, Any]:
        """Every result counts: the cohort's statistics depend on all of them."""
        record, atlases = self._propagated(case)
        by_selected, by_selected_labels = self.work.on_support, self.work.on_support_labels
        return {
            "case": case,
            "rule": asdict(self.rule),
            "classes": list(self.cohort.classes.items()),
            "support": self.support,
            "propagation": [content_mark(record), _hash(atlases, record), _hash(self._probabilities(case), record)],
            "references": {name: label_hash(folder, case) for name, folder in self.raters.items()},
            "support_mask": [
                _hash(self.support_mask, self.support_mask_record),
                None if self.support_mask_record is None else content_mark(self.support_mask_record),
            ],
            "on_support": [
                label_hash(by_selected_labels, self.support),
                content_mark(by_selected.record(self.support)),
                _hash(by_selected.atlases(self.support), by_selected.record(self.support)),
                _hash(by_selected.probabilities(self.support), by_selected.record(self.support)),
            ],
            "strokes": _hash(self.cohort.scribbles),
            "support_image": [self.cohort.modality, self.cohort.cases[self.support].sha256],
            "results": self._results_mark,
        }

    def surveyed(self) -> list[str]:
        """All: the cohort's statistics depend on them."""
        return self.cases()

    def survey(self, case: str) -> dict[str, ClassMeasurement]:
        """Class -> volume, intensity and tissue in the case's result."""
        label, image = _result(self.results.label(case)), read_volume(self.cohort.cases[case].image)
        found = self._tissues(label, image)
        shares = {} if self.cohort.modality == MR else tissue_shares(found, self._support_tissues)
        return measure_classes(found, voxel_ml(label.affine), shares)

    @cached_property
    def _support_tissues(self) -> dict[str, TissueRange]:
        """Of the support mask, for all cases."""
        coverage = self.rule.tissue_coverage
        return {name: TissueRange.of(of, coverage) for name, of in self._in_support_mask.items() if of.is_large}

    @cached_property
    def _in_support_mask(self) -> dict[str, Tissue]:
        """Class -> its intensities there, on the grid of the support's image."""
        image = read_volume(self.cohort.cases[self.support].image)
        mask = read_labels(self.support_mask, self.cohort.classes)
        on_grid = Volume(nearest_on_grid(mask, image.affine, image.array.shape), image.affine)
        return self._tissues(on_grid, image)

    def _tissues(self, label: Volume, image: Volume) -> dict[str, Tissue]:
        """An MR's intensities have no scale, so its noise is of no use."""
        is_mr = self.cohort.modality == MR
        finest = None if is_mr else int(np.argmin(np.linalg.norm(label.affine[:3, :3], axis=0)))
        return tissues(label.array, image.array, self.cohort.classes, finest)

    def summarise(self, surveys: Mapping[str, dict[str, ClassMeasurement]]) -> None:
        """The cohort's statistics, and what the support says."""
        self._measurements, self._of_cohort = surveys, self._cohort_evidence(surveys)

    def context_of(self, case: str) -> tuple[CohortEvidence, dict[str, ClassMeasurement]]:
        """All that a case needs of the cohort, and its own measurements."""
        return self._of_cohort, self._measurements[case]

    def make(self, case: str) -> tuple[dict[str, Any], Sequence[Path]]:
        """The record alone."""
        of_cohort, measurements = self.context
        return check_case(self._evidence(case, measurements), of_cohort, self.rule).to_json(), []

    def _cohort_evidence(self, surveys: Mapping[str, dict[str, ClassMeasurement]]) -> CohortEvidence:
        return CohortEvidence(
            classes=self.cohort.classes,
            statistics=self._statistics([surveys[case] for case in sorted(surveys)]),
            calibration=self._calibration(),
            border_confidence=self._border_confidence(),
            stroke_confidence=self._stroke_confidence(),
            is_mr=self.cohort.modality == MR,
        )

    def _statistics(self, cases: Sequence[Mapping[str, ClassMeasurement]]) -> dict[str, CohortStatistics]:
        """Class -> those of all cases."""
        image = open_nifti(self.cohort.cases[self.support].image)
        support = measure_classes(self._in_support_mask, voxel_ml(image.affine))
        return {
            name: CohortStatistics.with_support([measurements[name] for measurements in cases], support[name])
            for name in self.cohort.classes
        }

    @cached_property
    def _results_mark(self) -> str:
        """One fingerprint of all results: a list of them in every case's inputs would grow with the square."""
        return fingerprint({case: label_hash(self.results, case) for case in self.cases()})

    def _evidence(self, case: str, measurements: Mapping[str, ClassMeasurement]) -> CaseEvidence:
        record_file, atlases_file = self._propagated(case)
        record = PropagationRecord.read(record_file)
        if record.similarity is None or set(self.cohort.classes) - set(record.mean_round_trip_dice):
            raise BundleError(
                "the case's record says nothing of label fusion", case=case, stage=STAGE, file=record_file
            )
        atlases = _read_atlases(record, atlases_file)
        truth = atlases.labels.get(case)  # a case is its own atlas only by a label map that the user accepted
        return CaseEvidence(
            case=case,
            result=_on_grid_of(atlases_file, _result(self.results.label(case))),
            probabilities=self._class_probabilities(self._probabilities(case)),
            raters={} if truth is not None else self._raters(case, atlases_file),
            atlases=atlases,
            similarity=record.similarity,
            turned=record.turned,
            mean_round_trip_dice=record.mean_round_trip_dice,
            measurements=measurements,
            truth=truth,
        )

    def _raters(self, case: str, grid: Path) -> dict[str, np.ndarray]:
        """Name -> (X, Y, Z) label values on the working grid; a label map is no rater of itself."""
        result = label_hash(self.results, case)
        return {
            name: _on_grid_of(grid, _result(folder.label(case)))
            for name, folder in self.raters.items()
            if label_hash(folder, case) not in (None, result)
        }

    def _calibration(self) -> SupportCalibration:
        """Of no effect where no atlas was selected: what all get wrong together is then unknown."""
        label, support = self.work.on_support_labels.label(self.support), self.work.on_support
        if not label.exists():
            return SupportCalibration()
        grid, record = support.atlases(self.support), PropagationRecord.read(support.record(self.support))
        return calibrate_on_support(
            _on_grid_of(grid, _result(label)),
            _on_grid_of(grid, read_labels(self.support_mask, self.cohort.classes)),
            self._class_probabilities(support.probabilities(self.support)),
            {name for weights in record.atlases.values() for name in weights},
            self.cohort.classes,
            self.rule,
        )

    def _class_probabilities(self, file: Path) -> dict[str, np.ndarray]:
        """Class -> (X, Y, Z) probability; they lie on the grid of what each atlas alone predicts."""
        probabilities, _ = read_probabilities(file)
        return dict(zip(self.cohort.classes, probabilities[1:], strict=True))

    def _probabilities(self, case: str) -> Path:
        return self.work.propagation.probabilities(case)

    def _border_confidence(self) -> dict[str, float]:
        """Class -> how far the image made the border of the support mask; nothing of one that was given."""
        if self.support_mask_record is None or not self.support_mask_record.exists():
            return {}
        return dict(PseudoLabelRecord.read(self.support_mask_record).border_confidence)

    def _stroke_confidence(self) -> dict[str, float]:
        """Class -> how far the support mask, grown or given, holds its strokes."""
        if self.cohort.scribbles is None:
            return {}
        strokes = read_labels(self.cohort.scribbles)
        mask = read_labels(self.support_mask, self.cohort.classes)
        on_grid = nearest_on_grid(mask, strokes.affine, strokes.array.shape)
        return stroke_confidence(on_grid, strokes.array, self.cohort.classes)

    def _propagated(self, case: str) -> tuple[Path, Path]:
        """Record of the case's propagation and what each atlas alone predicts."""
        files = self.work.propagation.record(case), self.work.propagation.atlases(case)
        for file in (*files, self._probabilities(case)):
            if not file.exists():
                raise BundleError("the case was not propagated", case=case, stage=STAGE, file=file)
        return files


def _read_atlases(record: PropagationRecord, file: Path) -> AtlasLabels:
    """What each atlas alone predicts, from a case's record and its (X, Y, Z, atlases) label values."""
    stored, _ = read_result(file)
    labels = {atlas: stored[..., number] for number, atlas in enumerate(record.atlases)}
    return AtlasLabels(labels, {atlas: frozenset(weights) for atlas, weights in record.atlases.items()})


def _on_grid_of(grid: Path, label_map: Volume) -> np.ndarray:
    """(X, Y, Z) label values of a case's label map on the grid of another of the case's files."""
    image = open_nifti(grid)
    return nearest_on_grid(label_map, image.affine, image.shape[:3])


def _result(file: Path) -> Volume:
    """A label map that a stage left."""
    return Volume(*read_result(file))


def _hash(file: Path | None, record: Path | None = None) -> str | None:
    """Fingerprint of a file, not read where its record names it; None where there is none."""
    if file is None or not file.exists():
        return None
    return sha256_of_file(file) if record is None else recorded_hash(record, file)
