"""The propagation stage: support scribbles into every case of a cohort, denoised and recorded point by point."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from scripts.common.affines import nearest_voxels, to_voxels, to_world
from scripts.common.distributed import rank_and_world
from scripts.common.errors import BundleError
from scripts.common.files import sha256_of_file, sha256_of_settings
from scripts.data.cached_volume import CachedVolume, read_cached
from scripts.data.cohort import Cohort
from scripts.data.scribbles import read_scribble_points
from scripts.networks.prnet_weights import load_prnet
from scripts.point_propagation.propagator import LocatedPoints, PropagationSettings, Propagator, SupportPoints
from scripts.points.denoising import KEPT, DenoisingRule, denoise, product_of_levels
from scripts.points.point_records import JudgedPoints, PointRecords
from scripts.points.tissue_check import local_intensities, tissue_misfits

logger = logging.getLogger(__name__)

STAGE = "propagation"


@dataclass(frozen=True)
class DescribedSupport:
    """The support's points as the networks and as the tissue check see them."""

    points: SupportPoints
    intensities: np.ndarray


class ScribblePropagation:
    """Writes `propagation/ID.json` and `propagation/ID_scribbles.nii.gz` for the cases of a cohort.

    Args:
        cohort: with support, scribbles and classes.
        output_dir: the work directory.
        prnet_dir: holds `coarse/` and `fine/` weights for the cohort's spacing.
        rule: which similarities a kept point needs.
        settings: how points are located.
        class_limit: most support points per class, evenly thinned along the strokes; None takes all.
        background_limit: the same for background.
        device: where the networks run.

    Raises:
        BundleError: no scribbles in the cohort, or weights that do not fit.
    """

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
        if cohort.scribbles is None or cohort.support is None:
            raise BundleError("propagation needs a support with scribbles", stage=STAGE, file=cohort.output_dir)
        self.cohort, self.rule = cohort, rule
        self.settings = settings or PropagationSettings()
        prnet_dir = Path(prnet_dir)
        networks = [load_prnet(prnet_dir / name, cohort.spacing_mm, device=device) for name in ("coarse", "fine")]
        self.propagator = Propagator(*networks, self.settings, device)
        self.limits = (class_limit, background_limit)
        self.points = read_scribble_points(cohort.scribbles, cohort.classes, *self.limits)
        about = {key: value for key, value in asdict(rule).items() if key != "name"}
        self.records = PointRecords(cohort, output_dir, self.points, {"rule": rule.name, **about})
        self._dependencies = sha256_of_settings(
            {
                "settings": asdict(self.settings),
                "rule": asdict(rule),
                "limits": self.limits,
                "classes": list(cohort.classes.items()),
                "spacing_mm": cohort.spacing_mm,
                "support": cohort.cases[cohort.support].sha256,
                "scribbles": sha256_of_file(cohort.scribbles),
                "weights": [sha256_of_file(prnet_dir / name / "model.pt") for name in ("coarse", "fine")],
            }
        )

    def run(self, case_ids: Sequence[str] | None = None) -> list[str]:
        """Propagate into the cases (default: all) that are not up to date; returns their names.

        Under torch.distributed every process takes its share.

        Raises:
            BundleError: a name that is not in the cohort.
        """
        if unknown := [case for case in case_ids or () if case not in self.cohort.cases]:
            raise BundleError("unknown case", stage=STAGE, expected=", ".join(self.cohort.cases), found=unknown[0])
        rank, world = rank_and_world()
        cases = sorted(self.cohort.cases) if case_ids is None else list(case_ids)
        todo = [case for case in cases[rank::world] if not self.records.up_to_date(case, self._inputs(case))]
        if not todo:
            return []
        support = self._describe_support()
        for case in tqdm(todo, desc="propagation", unit="case", disable=rank > 0):
            self._propagate(case, support)
        return todo

    def _describe_support(self) -> DescribedSupport:
        volume = read_cached(self.cohort, self.cohort.support)
        voxels = nearest_voxels(to_voxels(self.points.world_mm, volume.affine), volume.body.shape)
        described = self.propagator.describe_support(volume.image, torch.as_tensor(voxels))
        return DescribedSupport(described, local_intensities(volume.image[0].numpy(), voxels))

    def _propagate(self, case: str, support: DescribedSupport) -> None:
        start = time.perf_counter()
        volume = read_cached(self.cohort, case)
        if case == self.cohort.support:
            judged = self._at_home(volume, support)
        else:
            judged = self._judge(self.propagator.locate(volume.image, volume.body, support.points), volume, support)
        self.records.write(case, judged, self._inputs(case), time.perf_counter() - start)

    def _at_home(self, volume: CachedVolume, support: DescribedSupport) -> JudgedPoints:
        """The support's own points: at their places, with similarity 1, all kept."""
        ones = np.ones(len(self.points.labels))
        places = to_voxels(self.points.world_mm, volume.affine)
        judged = self._judge(LocatedPoints(places, dict.fromkeys(support.points.features, ones)), volume, support)
        return replace(judged, world_mm=self.points.world_mm, reasons=[KEPT] * len(ones))

    def _judge(self, located: LocatedPoints, volume: CachedVolume, support: DescribedSupport) -> JudgedPoints:
        scores = product_of_levels(located.similarities, self.rule.levels)
        voxels = nearest_voxels(located.voxels, volume.body.shape)
        intensities = local_intensities(volume.image[0].numpy(), voxels)
        misfits = tissue_misfits(self.points.labels, support.intensities, intensities)
        reasons = denoise(self.points.labels, voxels, scores, misfits, self.rule)
        world_mm = to_world(located.voxels, volume.affine)
        return JudgedPoints(world_mm, voxels, located.similarities, scores, reasons, {"tissue_misfit": misfits})

    def _inputs(self, case: str) -> str:
        return sha256_of_settings([self._dependencies, self.cohort.cases[case].sha256])
