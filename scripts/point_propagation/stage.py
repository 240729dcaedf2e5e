"""The stage `point_propagation`: the support's scribbles into every case of a cohort, recorded point by point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scripts.common.case_stage import CaseStage
from scripts.common.errors import BundleError
from scripts.common.files import open_nifti, sha256_of_file, write_nifti
from scripts.common.made_of import fingerprint
from scripts.common.work_folder import PropagationFolder, WorkFolder
from scripts.data.cached_volume import read_cached
from scripts.data.cohort import Cohort
from scripts.data.records import PointSet, PropagationRecord
from scripts.data.scribbles import ScribblePoints, read_scribble_points
from scripts.networks.prnet_weights import check_prnet, load_prnet, prnet_mark
from scripts.point_propagation.atlas_paths import PointAtlas, atlases_by_class, class_scores
from scripts.point_propagation.body_map import BodyMapSettings
from scripts.point_propagation.propagate_case import (
    DescribedSupport,
    describe_support,
    points_on_support,
    propagate_case,
)
from scripts.point_propagation.propagator import PropagationSettings, Propagator, SupportPoints
from scripts.points.denoising import DenoisingRule
from scripts.points.propagated_points import draw_kept

NETWORKS = ("coarse", "fine")


@dataclass(frozen=True)
class _Described:
    """Points of an atlas, and their class values."""

    points: SupportPoints
    labels: np.ndarray


@dataclass(frozen=True)
class _Prepared:
    """What all cases share: the networks, the support's points, and those of the atlases described so far."""

    propagator: Propagator
    support: DescribedSupport
    atlases: dict[str, _Described]


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
        propagation_dir: what is written; None is `propagation` in the work directory.
        first_dir: where the points were located directly before, for all cases; read only where there are atlases.
        most_atlases: points are also sought by way of so many cases, for each class those whose points of it look most
            like the support's; see `find_through`. 0 locates directly.
        atlas_share: at most this share of the other cases are atlases of a class: the best of few were not chosen.
        map_settings: when points go where the body as a whole says, atlases or not; None takes them one by one.

    Raises:
        BundleError: no scribbles in the cohort, weights that do not fit, or no points of the first round.
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
        propagation_dir: str | Path | None = None,
        first_dir: str | Path | None = None,
        most_atlases: int = 0,
        atlas_share: float = 0.25,
        map_settings: BodyMapSettings | None = None,
    ) -> None:
        self.cohort, self.rule, self.device = cohort, rule, device
        self.support = cohort.scribbled_support(self.name)
        work = WorkFolder(Path(output_dir))
        self.folder = work.propagation if propagation_dir is None else PropagationFolder(Path(propagation_dir))
        self.first = work.first_round if first_dir is None else PropagationFolder(Path(first_dir))
        self.most_atlases, self.atlas_share, self.map_settings = most_atlases, atlas_share, map_settings
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
        """Both volumes, the scribbles and what they mean, the networks, every setting, and the atlases' points."""
        inputs = {**self._shared_inputs, "case": self.cohort.cases[case].sha256}
        atlases = self._atlases_of(case)
        if not any(atlases.values()):
            return inputs
        names = sorted({name for of_class in atlases.values() for name in of_class})
        return {**inputs, "atlases": [list(atlases.items()), {name: self._atlas_marks[name] for name in names}]}

    def prepare(self) -> None:
        """Load the networks and describe the support."""
        coarse, fine = (load_prnet(folder, self.cohort.spacing_mm, device=self.device) for folder in self.prnet_dirs)
        propagator = Propagator(coarse, fine, self.settings, self.device)
        volume = read_cached(self.cohort, self.support.case.id)
        support = describe_support(self._scribbles, volume, propagator)
        self._prepared = _Prepared(propagator, support, {})

    def make(self, case: str) -> tuple[dict[str, Any], Sequence[Path]]:
        """The case's points, and the kept ones drawn on its own grid."""
        volume, prepared = read_cached(self.cohort, case), self._prepared
        if case == self.support.case.id:
            points = points_on_support(prepared.support, volume, self.map_settings is not None)
        else:
            atlases = {
                value: [self._atlas(name, value) for name in names] for value, names in self._atlases_of(case).items()
            }
            points = propagate_case(
                prepared.support, volume, prepared.propagator, self.rule, atlases, self.map_settings
            )
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

    def _atlases_of(self, case: str) -> dict[int, list[str]]:
        """Class value -> its atlases for the case; none for the support, whose points are known."""
        if not self.most_atlases or case == self.support.case.id:
            return {}
        return atlases_by_class(self._first_scores, self.most_atlases, self.atlas_share, case)

    @cached_property
    def _first_scores(self) -> dict[str, dict[int, float]]:
        """Case -> class value -> mean score of its points in the first round, without the support."""
        first = {case: self._first_points(case) for case in self.cases() if case != self.support.case.id}
        return {case: class_scores(points.labels, points.scores) for case, points in first.items()}

    def _atlas(self, case: str, value: int) -> PointAtlas:
        """A case's points of a class as the networks describe them there; those of all classes it is for at once."""
        described, points = self._prepared.atlases, self._atlas_points[case]
        if case not in described:
            members = np.isin(points.labels, [of for of, names in self._any_atlases.items() if case in names])
            volume, voxels = read_cached(self.cohort, case), torch.from_numpy(points.working_voxels[members]).long()
            there = self._prepared.propagator.describe_support(volume.image, volume.body, voxels)
            described[case] = _Described(there, points.labels[members])
        of_class = torch.from_numpy(described[case].labels == value)
        return PointAtlas(described[case].points.chosen(of_class), points.scores[points.labels == value])

    @cached_property
    def _any_atlases(self) -> dict[int, list[str]]:
        """Class value -> its atlases for any case."""
        return atlases_by_class(self._first_scores, self.most_atlases, self.atlas_share, None)

    @cached_property
    def _atlas_points(self) -> dict[str, PointSet]:
        """Of the first round."""
        names = sorted({name for of_class in self._any_atlases.values() for name in of_class})
        return {name: self._first_points(name) for name in names}

    @cached_property
    def _atlas_marks(self) -> dict[str, str]:
        return {name: fingerprint(points.to_json()) for name, points in self._atlas_points.items()}

    @cached_property
    def _scribbles(self) -> ScribblePoints:
        return read_scribble_points(self.support.scribbles, self.cohort.classes, *self.limits)

    def _first_points(self, case: str) -> PointSet:
        """Raises BundleError where there are none, or of other strokes."""
        file = self.first.record(case)
        points = PropagationRecord.read(file).points
        if not np.array_equal(points.support_voxels, self._scribbles.voxels):
            raise BundleError(
                "the first round located other strokes",
                case=case,
                stage=self.name,
                file=file,
                expected="points of these strokes: locate all cases directly first, with most_atlases 0",
                found=f"{len(points.labels)} points, strokes have {len(self._scribbles.labels)}",
            )
        return points

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
            "networks": [prnet_mark(folder) for folder in self.prnet_dirs],
            **({} if self.map_settings is None else {"body_map": asdict(self.map_settings)}),
        }
