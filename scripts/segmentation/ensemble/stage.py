"""The trained network beside the atlases (mode `default`): final label maps grow from what both say.

The atlases know one case, the network has learned from all of them; they err in different places. Each class of each
case weighs the network by what it is worth there (see `network_worth`): one that learned too little changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

from scripts.common.case_stage import CaseStage
from scripts.common.files import open_nifti, read_result
from scripts.common.made_of import content_mark, fingerprint, recorded_hash
from scripts.common.work_folder import LabelFolder, PropagationFolder
from scripts.data.cohort import Cohort
from scripts.data.probability_maps import ClassProbabilities, read_probabilities, write_probabilities
from scripts.data.records import DIGITS, PropagationRecord
from scripts.quality.records import CheckRecord
from scripts.segmentation.ensemble.joining import have_parallel_axes, joined_on_grid
from scripts.segmentation.ensemble.network_worth import ClassAgreement, WorthSettings, class_dice, network_shares


class EnsembleStage(CaseStage):
    """Writes `ID_probabilities.nii.gz`, the network's and the atlases' class probabilities joined, and `ID.json`: the
    atlases' record, with the weight of the network for each class.

    Probabilities lie on the network's grid, of a sheared image on the atlases'; where the network has no weight at all,
    they are the atlases' own.

    Args:
        cohort: the cases.
        network_dir: the network's own label maps, its class probabilities beside them; `propagation/` is made there.
        propagation_dir: the atlases' class probabilities.
        labels_dir: the pseudo labels made of them.
        checks_dir: what the self-check says of the pseudo labels. Of a case that it does not speak of, the support
            among them, the labels are taken as they are.
        settings: see `WorthSettings`.
    """

    name = "ensemble"

    def __init__(
        self,
        cohort: Cohort,
        network_dir: str | Path,
        propagation_dir: str | Path,
        labels_dir: str | Path,
        checks_dir: str | Path,
        settings: WorthSettings | None = None,
    ) -> None:
        self.cohort, self.settings = cohort, settings or WorthSettings()
        self.network, self.atlases = LabelFolder(Path(network_dir)), PropagationFolder(Path(propagation_dir))
        self.labels, self.checks_dir = LabelFolder(Path(labels_dir)), Path(checks_dir)

    def cases(self) -> list[str]:
        """Those that the network has labelled."""
        return [case for case in sorted(self.cohort.cases) if self.network.own.record(case).exists()]

    def inputs(self, case: str) -> Any:
        """Every case counts: what the network is worth depends on all of them."""
        atlases, own = self.atlases.record(case), self.network.own
        return {
            "settings": asdict(self.settings),
            "classes": list(self.cohort.classes.items()),
            "atlases": [content_mark(atlases), recorded_hash(atlases, self.atlases.probabilities(case))],
            "network": recorded_hash(own.record(case), own.probabilities(case)),
            "agreement": self._agreement_mark,
            **({} if self._joins_on_network_grid(case) else {"joined_on": "atlases"}),  # earlier versions never did
        }

    def record(self, case: str) -> Path:
        """Beside the joined probabilities."""
        return self.network.joined.record(case)

    def surveyed(self) -> list[str]:
        """Those that the self-check speaks of."""
        return self._checked

    def survey(self, case: str) -> dict[str, ClassAgreement]:
        """Class -> how far the network agrees with the pseudo label, and those with one another."""
        label, network = (read_result(folder.label(case))[0] for folder in (self.labels, self.network))
        checks = CheckRecord.read(self._check(case)).classes
        dice = class_dice(label, network, self.cohort.classes)
        return {name: ClassAgreement(checks[name].agreed_dice, dice[name]) for name in self.cohort.classes}

    def summarise(self, surveys: Mapping[str, dict[str, ClassAgreement]]) -> None:
        """Case -> class -> weight of the network."""
        self._shares = network_shares({case: surveys[case] for case in sorted(surveys)}, self.settings)

    def context_of(self, case: str) -> dict[str, float]:
        """Class -> weight of the network."""
        return self._shares.get(case, dict.fromkeys(self.cohort.classes, 0.0))

    def make(self, case: str) -> tuple[dict[str, Any], Sequence[Path]]:
        """Weigh and join."""
        record, shares = PropagationRecord.read(self.atlases.record(case)), self.context
        joined = ClassProbabilities(*read_probabilities(self.atlases.probabilities(case)))
        if any(shares.values()):
            network = ClassProbabilities(*read_probabilities(self.network.own.probabilities(case)))
            by_class = [shares[name] for name in self.cohort.classes]
            joined = joined_on_grid(network, joined, by_class, self.settings.match_volumes)
        file = self.network.joined.probabilities(case)
        write_probabilities(file, joined.array, joined.affine)
        rounded = {name: round(share, DIGITS) for name, share in shares.items()}
        return {**record.to_json(), "network_shares": rounded}, [file]

    @cached_property
    def _checked(self) -> list[str]:
        return [case for case in self.cases() if self._check(case).exists()]

    @cached_property
    def _agreement_mark(self) -> str:
        """One fingerprint of what every case is weighed by."""
        labels = (self.labels, self.network)
        return fingerprint(
            [
                [case, content_mark(self._check(case)), *(_label_hash(folder, case) for folder in labels)]
                for case in self._checked
            ]
        )

    def _joins_on_network_grid(self, case: str) -> bool:
        network = open_nifti(self.network.own.probabilities(case))
        atlases = open_nifti(self.atlases.probabilities(case))
        return have_parallel_axes(network.affine, network.shape[:3], atlases.affine)

    def _check(self, case: str) -> Path:
        return self.checks_dir / f"{case}.json"


def _label_hash(folder: LabelFolder, case: str) -> str:
    return recorded_hash(folder.record(case), folder.label(case))
