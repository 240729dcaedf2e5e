"""The table of a run over a cohort, and that of `infer` over a folder: from the records that they left."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bundle.results.table import (
    ACCEPTED,
    SUPPORT,
    UNLABELLED,
    CaseFacts,
    ResultRow,
    ResultTable,
    case_rows,
    left_out_row,
)
from bundle.version import bundle_version
from scripts.common.affines import voxel_ml
from scripts.common.files import read_json, sha256_of_file
from scripts.common.work_folder import LabelFolder
from scripts.data.cohort import Cohort
from scripts.data.records import PseudoLabelRecord
from scripts.data.volume_io import read_labels
from scripts.quality.records import CheckRecord
from scripts.segmentation.label_map_record import LabelMapRecord
from scripts.segmentation.plausibility import label_volumes_ml


@dataclass(frozen=True)
class LabelledCases:
    """Cases and their label maps.

    Attributes:
        classes: name -> label value.
        labels: the label maps; a case without one has no row.
        sources: case -> input file or folder.
        remarks: case -> sentences about its volume.
        rejected: case -> {"file", "reason", "remedy"} of those that the gate left out.
        networks: name -> weights' file.
        support: the scribbled case, if it is among them.
        accepted: cases whose label maps the user accepted.
        checks_dir: what the self-check says, `ID.json`; None where there is none.
        noted: folders of further records of the cases, with warnings.
    """

    classes: Mapping[str, int]
    labels: LabelFolder
    sources: Mapping[str, Path]
    remarks: Mapping[str, tuple[str, ...]]
    rejected: Mapping[str, Mapping[str, str]]
    networks: Mapping[str, Path]
    support: str | None = None
    accepted: Collection[str] = ()
    checks_dir: Path | None = None
    noted: tuple[LabelFolder, ...] = field(default=())

    @classmethod
    def of_cohort(
        cls,
        cohort: Cohort,
        labels: LabelFolder,
        checks_dir: Path,
        networks: Mapping[str, Path],
        accepted: Collection[str],
        noted: tuple[LabelFolder, ...] = (),
    ) -> LabelledCases:
        """Those of a run."""
        return cls(
            classes=cohort.classes,
            labels=labels,
            sources={name: case.source for name, case in cohort.cases.items()},
            remarks=cohort.warnings,
            rejected=cohort.rejected,
            networks=networks,
            support=cohort.support,
            accepted=accepted,
            checks_dir=checks_dir,
            noted=noted,
        )


def result_table(cases: LabelledCases, folder: Path) -> ResultTable:
    """One row a case and class, cases by name, then one a case that was left out.

    Args:
        cases: what there is.
        folder: where the table goes; label maps are named from there.

    Raises:
        BundleError: a record is damaged.
    """
    return ResultTable(
        version=bundle_version(),
        weights={name: sha256_of_file(file) for name, file in cases.networks.items()},
        rows=(*_rows(cases, folder), *(left_out_row(name, why) for name, why in sorted(cases.rejected.items()))),
    )


def _rows(cases: LabelledCases, folder: Path) -> Iterator[ResultRow]:
    for case, source in sorted(cases.sources.items()):
        file = cases.labels.label(case)
        if file.exists():
            facts = CaseFacts(
                case=case,
                role=SUPPORT if case == cases.support else ACCEPTED if case in cases.accepted else UNLABELLED,
                source=str(source),
                label_map=file.relative_to(folder).as_posix(),
                remarks=(*cases.remarks.get(case, ()), *_of_label_map(cases, case)),
                volume_ml=volumes_ml(cases.labels, case, cases.classes),
                check=_check(cases.checks_dir, case),
            )
            yield from case_rows(facts, cases.classes)


def volumes_ml(labels: LabelFolder, case: str, classes: Mapping[str, int]) -> dict[str, float]:
    """Class -> volume in a case's label map, as its record says; a record without volumes is of an older version.

    Raises:
        BundleError: the record, or a label map that must be read, is damaged.
    """
    record, file = labels.record(case), labels.label(case)
    if record.exists() and "volume_ml" in read_json(record):
        return dict(PseudoLabelRecord.read(record).volume_ml)
    by_value = LabelMapRecord.read(record).volume_ml if record.exists() else None
    if by_value is None:
        label = read_labels(file, classes)
        by_value = label_volumes_ml(label.array, voxel_ml(label.affine))
    return {name: by_value.get(value, 0.0) for name, value in classes.items()}


def _of_label_map(cases: LabelledCases, case: str) -> list[str]:
    """What was implausible about it, or about the network's own that it comes from; a given one comes from none."""
    if case == cases.support or case in cases.accepted:
        return []
    records = [labels.record(case) for labels in cases.noted if labels.record(case).exists()]
    return [sentence for record in records for sentence in LabelMapRecord.read(record).warnings]


def _check(checks_dir: Path | None, case: str) -> CheckRecord | None:
    file = None if checks_dir is None else checks_dir / f"{case}.json"
    return CheckRecord.read(file) if file is not None and file.exists() else None
