"""The choice between two label maps as a stage: reads both and what the self-check says of them, writes the final one
(mode `default`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from scripts.common.affines import voxel_ml
from scripts.common.case_stage import CaseStage
from scripts.common.files import open_nifti, read_result, write_nifti
from scripts.common.made_of import content_mark, label_hash
from scripts.common.work_folder import LabelFolder
from scripts.data.cohort import Cohort
from scripts.data.records import PseudoLabelRecord
from scripts.quality.records import CheckRecord
from scripts.segmentation.ensemble.choice import ChoiceSettings, transferred_classes, with_classes_of
from scripts.segmentation.plausibility import label_volumes_ml

TRANSFERRED = "transferred"  # in a record: the classes that stay as they were transferred


class ChoiceStage(CaseStage):
    """Writes `ID.nii.gz` and `ID.json`: the record of the label map of network and atlases, and which classes are not
    from there.

    A case that was not checked, such as the support, keeps that label map.

    Args:
        cohort: the cases.
        joined_dir: label maps of network and atlases.
        joined_checks_dir: what the self-check says of them.
        transferred_dir: label maps of the atlases alone.
        transferred_checks_dir: what it says of those.
        labels_dir: where the chosen ones go.
        settings: see `ChoiceSettings`.
    """

    name = "choice"

    def __init__(
        self,
        cohort: Cohort,
        joined_dir: str | Path,
        joined_checks_dir: str | Path,
        transferred_dir: str | Path,
        transferred_checks_dir: str | Path,
        labels_dir: str | Path,
        settings: ChoiceSettings | None = None,
    ) -> None:
        self.cohort, self.settings = cohort, settings or ChoiceSettings()
        self.joined, self.transferred = LabelFolder(Path(joined_dir)), LabelFolder(Path(transferred_dir))
        self.checks = Path(joined_checks_dir), Path(transferred_checks_dir)
        self.labels = LabelFolder(Path(labels_dir))

    def cases(self) -> list[str]:
        """Those that network and atlases have labelled."""
        return [case for case in sorted(self.cohort.cases) if self.joined.record(case).exists()]

    def inputs(self, case: str) -> dict[str, Any]:
        """Both label maps, and what is said of them."""
        return {
            "settings": asdict(self.settings),
            "classes": list(self.cohort.classes.items()),
            "joined": label_hash(self.joined, case),
            "transferred": label_hash(self.transferred, case),
            "checks": [content_mark(file) if file.exists() else None for file in self._checks(case)],
        }

    def record(self, case: str) -> Path:
        """`labels_dir/ID.json`."""
        return self.labels.record(case)

    def make(self, case: str) -> tuple[dict[str, Any], Sequence[Path]]:
        """Choose, and write."""
        classes, image = self.cohort.classes, open_nifti(self.cohort.cases[case].image)
        record, stay = PseudoLabelRecord.read(self.joined.record(case)), self._stay(case)
        label = read_result(self.joined.label(case))[0]
        if stay:
            of_transferred = PseudoLabelRecord.read(self.transferred.record(case))
            label = with_classes_of(label, read_result(self.transferred.label(case))[0], [classes[k] for k in stay])
            found = label_volumes_ml(label, voxel_ml(image.affine))
            volume_ml = {name: round(found.get(value, 0.0), 3) for name, value in classes.items()}
            theirs = of_transferred.border_confidence
            record = replace(
                record,
                volume_ml=volume_ml,
                not_located=tuple(name for name in classes if not volume_ml[name]),
                border_confidence={
                    **record.border_confidence,
                    **{name: theirs[name] for name in stay if name in theirs},
                },
            )
        file = self.labels.label(case)
        write_nifti(file, label, image.affine, like=image)
        return {**record.to_json(), **({TRANSFERRED: stay} if stay else {})}, [file]

    def _stay(self, case: str) -> list[str]:
        files = self._checks(case)
        if not all(file.exists() for file in files):
            return []
        joined, transferred = (
            {name: check.predicted_dice for name, check in CheckRecord.read(file).classes.items()} for file in files
        )
        return transferred_classes(joined, transferred, self.settings)

    def _checks(self, case: str) -> list[Path]:
        """Of network and atlases, and of the transferred label map."""
        return [folder / f"{case}.json" for folder in self.checks]
