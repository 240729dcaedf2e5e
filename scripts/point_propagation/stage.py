"""The stage `point_propagation`: the support's scribbles into every case of a cohort, recorded point by point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from scripts.common.case_stage import CaseStage
from scripts.common.files import open_nifti, sha256_of_file, write_nifti
from scripts.common.work_folder import WorkFolder
from scripts.data.cached_volume import read_cached
from scripts.data.cohort import Cohort
from scripts.data.records import PropagationRecord
from scripts.data.scribbles import read_scribble_points
from scripts.networks.prnet_weights import check_prnet, load_prnet
from scripts.point_propagation.propagate_case import (
    DescribedSupport,
    describe_support,
    points_on_support,
    propagate_case,
)
from scripts.point_propagation.propagator import PropagationSettings, Propagator
from scripts.points.denoising import DenoisingRule
from scripts.points.propagated_points import draw_kept

NETWORKS = ("coarse", "fine")


@dataclass(frozen=True)
class _Prepared:
    """What all cases share."""

    propagator: Propagator
    support: DescribedSupport


class PointPropagationStage(CaseStage):
    """Writes `propagation/ID.json` and `propagation/ID_scribbles.nii.gz` for the cases of a cohort.

    Args:
        cohort: with support, scribbles and classes.
        output_dir: the work directory.
        prnet_dir: holds `coarse/` and `fine/` weights for the cohort's spacing.
        rule: which similarities a kept point needs.
        settings: how points are located.
        class_limit: most support points per class, evenly thinned along the strokes; None takes all.
        background_limit: most support points of background, evenly thinned along the strokes; None takes all.
        device: where the networks run.

    Raises:
        BundleError: no scribbles in the cohort, or weights that do not fit.
    """

    name = "point_propagation"
    _prepared: _Prepared

    def __init__(
        self,
        cohort: Cohort,
        output_dir: str | Path,
        prnet_dir: str | Path,
        rule: DenoisingRule,
        settings: PropagationSettings | None = None,
        class_limit: int | None = None,
        background_limit: int | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        self.cohort, self.rule, self.device = cohort, rule, device
        self.support = cohort.scribbled_support(self.name)
        self.folder = WorkFolder(Path(output_dir)).propagation
        self.prnet_dirs = [Path(prnet_dir) / name for name in NETWORKS]
        for folder in self.prnet_dirs:
            check_prnet(folder, cohort.spacing_mm)
        self.settings = settings or PropagationSettings()
        self.limits = (class_limit, background_limit)

    def cases(self) -> list[str]:
        """All of the cohort, the support among them."""
        return sorted(self.cohort.cases)

    def record(self, case: str) -> Path:
        """See `PropagationRecord`."""
        return self.folder.record(case)

    def inputs(self, case: str) -> Any:
        """Both volumes, the scribbles and what they mean, the networks, and every setting."""
        return {**self._shared_inputs, "case": self.cohort.cases[case].sha256}

    def prepare(self) -> None:
        """Load the networks and describe the support."""
        coarse, fine = (load_prnet(folder, self.cohort.spacing_mm, device=self.device) for folder in self.prnet_dirs)
        propagator = Propagator(coarse, fine, self.settings, self.device)
        scribbles = read_scribble_points(self.support.scribbles, self.cohort.classes, *self.limits)
        volume = read_cached(self.cohort, self.support.case.id)
        self._prepared = _Prepared(propagator, describe_support(scribbles, volume, propagator))

    def make(self, case: str) -> tuple[dict[str, Any], Sequence[Path]]:
        """The case's points, and the kept ones drawn on its own grid."""
        volume, prepared = read_cached(self.cohort, case), self._prepared
        if case == self.support.case.id:
            points = points_on_support(prepared.support, volume)
        else:
            points = propagate_case(prepared.support, volume, prepared.propagator, self.rule)
        image = open_nifti(self.cohort.cases[case].image)
        drawn = draw_kept(points, image.affine, self.cohort.cases[case].shape, self.support.background)
        write_nifti(self.folder.scribbles(case), drawn, image.affine, like=image)
        record = PropagationRecord(
            case=case,
            support=self.support.case.id,
            rule=asdict(self.rule),
            spacing_mm=self.cohort.spacing_mm,
            classes=self.cohort.classes,
            points=points,
        )
        return record.to_json(), [self.folder.scribbles(case)]

    @cached_property
    def _shared_inputs(self) -> dict[str, Any]:
        return {
            "settings": asdict(self.settings),
            "rule": asdict(self.rule),
            "limits": self.limits,
            "classes": list(self.cohort.classes.items()),
            "background": self.support.background,
            "spacing_mm": self.cohort.spacing_mm,
            "support": self.support.case.sha256,
            "scribbles": sha256_of_file(self.support.scribbles),
            "weights": [sha256_of_file(folder / "model.pt") for folder in self.prnet_dirs],
        }
