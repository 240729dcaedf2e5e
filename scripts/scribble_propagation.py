"""The propagation stage: support scribbles into every case of a cohort, denoised and recorded point by point."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from tqdm import tqdm

from scripts.cohort import Cohort
from scripts.denoising import KEPT, DenoisingRule, classes_not_located, denoise, product_of_levels
from scripts.distributed import rank_and_world
from scripts.errors import BundleError
from scripts.files import read_json, sha256_of_file, sha256_of_settings, write_json, write_nifti
from scripts.prnet_weights import load_prnet
from scripts.propagation import LocatedPoints, PropagationSettings, Propagator, SupportPoints
from scripts.scribbles import (
    BACKGROUND,
    draw_points,
    nearest_voxels,
    read_scribble_points,
    to_voxels,
    to_world,
)
from scripts.tissue_check import local_intensities, tissue_misfits

logger = logging.getLogger(__name__)

STAGE = "propagation"


@dataclass(frozen=True)
class CachedVolume:
    """A case at the working spacing: image (1, X, Y, Z) in [0, 1], body (X, Y, Z), affine (4, 4)."""

    image: torch.Tensor
    body: torch.Tensor
    affine: np.ndarray


@dataclass(frozen=True)
class DescribedSupport:
    """The support's points as the networks and as the tissue check see them."""

    points: SupportPoints
    intensities: np.ndarray


@dataclass(frozen=True)
class JudgedPoints:
    """Located points of one case: world_mm and working_voxels (N, 3), similarities per level, scores, misfits and the
    reasons for dropping ("" is kept), N each."""

    world_mm: np.ndarray
    working_voxels: np.ndarray
    similarities: dict[str, np.ndarray]
    scores: np.ndarray
    misfits: np.ndarray
    reasons: list[str]


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
        self.folder = Path(output_dir) / "propagation"
        prnet_dir = Path(prnet_dir)
        networks = [load_prnet(prnet_dir / name, cohort.spacing_mm, device=device) for name in ("coarse", "fine")]
        self.propagator = Propagator(*networks, self.settings, device)
        self.limits = (class_limit, background_limit)
        self.points = read_scribble_points(cohort.scribbles, cohort.classes, *self.limits)
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
        todo = [case for case in cases[rank::world] if not self._up_to_date(case)]
        if not todo:
            return []
        support = self._describe_support()
        for case in tqdm(todo, desc="propagation", unit="case", disable=rank > 0):
            self._propagate(case, support)
        return todo

    def _describe_support(self) -> DescribedSupport:
        volume = self._cached(self.cohort.support)
        voxels = nearest_voxels(to_voxels(self.points.world_mm, volume.affine), volume.body.shape)
        described = self.propagator.describe_support(volume.image, torch.as_tensor(voxels))
        return DescribedSupport(described, local_intensities(volume.image[0].numpy(), voxels))

    def _propagate(self, case: str, support: DescribedSupport) -> None:
        start = time.perf_counter()
        volume = self._cached(case)
        if case == self.cohort.support:
            judged = self._at_home(volume, support)
        else:
            judged = self._judge(self.propagator.locate(volume.image, volume.body, support.points), volume, support)
        self._draw(case, judged)
        seconds = round(time.perf_counter() - start, 3)
        write_json(self.folder / f"{case}.json", self._record(case, judged) | {"seconds": seconds})

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
        return JudgedPoints(world_mm, voxels, located.similarities, scores, misfits, reasons)

    def _record(self, case: str, judged: JudgedPoints) -> dict[str, Any]:
        names = {value: name for name, value in self.cohort.classes.items()} | {0: BACKGROUND}
        points = [
            {
                "class": names[int(label)],
                "label": int(label),
                "support_voxel": [int(v) for v in self.points.voxels[n]],
                "support_mm": [round(float(v), 3) for v in self.points.world_mm[n]],
                "located_mm": [round(float(v), 3) for v in judged.world_mm[n]],
                "working_voxel": [int(v) for v in judged.working_voxels[n]],
                "similarity": {level: round(float(s[n]), 4) for level, s in judged.similarities.items()},
                "score": round(float(judged.scores[n]), 4),
                "tissue_misfit": round(float(judged.misfits[n]), 4),
                "kept": judged.reasons[n] == KEPT,
                "reason": judged.reasons[n],
            }
            for n, label in enumerate(self.points.labels)
        ]
        return {
            "case": case,
            "support": self.cohort.support,
            "rule": self.rule.name,
            "levels": list(self.rule.levels),
            "tau": self.rule.tau,
            "tissue_tolerance": self.rule.tissue_tolerance,
            "spacing_mm": list(self.cohort.spacing_mm),
            "classes": self.cohort.classes,
            "points": points,
            "not_located": classes_not_located(self.cohort.classes, self.points.labels, judged.reasons),
            "inputs": self._inputs(case),
        }

    def _draw(self, case: str, judged: JudgedPoints) -> None:
        """Kept points on the case's own grid; foreground over background, then the higher score."""
        kept = np.array([reason == KEPT for reason in judged.reasons])
        labels = self.points.labels
        values = np.where(labels == 0, self.cohort.background or 0, labels)
        order = np.where(labels == 0, -1.0, judged.scores)
        image = nib.load(self.cohort.cases[case].image)
        grid = image.affine, self.cohort.cases[case].shape
        drawn = draw_points(judged.world_mm[kept], values[kept], order[kept], *grid)
        write_nifti(self.folder / f"{case}_scribbles.nii.gz", drawn, image.affine, like=image)

    def _cached(self, case: str) -> CachedVolume:
        image = nib.load(self.cohort.cached_image(case))
        body = nib.load(self.cohort.cached_body(case))
        return CachedVolume(
            torch.from_numpy(np.asarray(image.dataobj, dtype=np.float32))[None],
            torch.from_numpy(np.asarray(body.dataobj) > 0),
            image.affine,
        )

    def _inputs(self, case: str) -> str:
        return sha256_of_settings([self._dependencies, self.cohort.cases[case].sha256])

    def _up_to_date(self, case: str) -> bool:
        path = self.folder / f"{case}.json"
        if not path.exists() or not (self.folder / f"{case}_scribbles.nii.gz").exists():
            return False
        try:
            return read_json(path)["inputs"] == self._inputs(case)
        except (BundleError, KeyError, TypeError):
            logger.warning("the record of case %s is damaged and is made again", case)
            return False
