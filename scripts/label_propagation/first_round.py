"""The propagation stage of mode `default`: scribbles, and the support's region, into every case by dense embeddings."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from tqdm import tqdm

from scripts.common.affines import nearest_voxels, to_voxels, to_world
from scripts.common.distributed import rank_and_world
from scripts.common.errors import BundleError
from scripts.common.files import sha256_of_file, sha256_of_settings
from scripts.common.overlap import dice_of
from scripts.data.cached_volume import CachedVolume, read_cached
from scripts.data.cohort import Cohort
from scripts.data.probability_maps import PROBABILITIES, write_probabilities
from scripts.data.scribbles import read_scribble_points
from scripts.label_propagation.atlas import ask, read_atlas
from scripts.label_propagation.label_transfer import TransferSettings, transfer_labels
from scripts.networks.embedding_weights import load_embedding
from scripts.points.denoising import COLLISION, KEPT, TISSUE, collisions
from scripts.points.point_records import JudgedPoints, PointRecords, points_at_home
from scripts.points.tissue_check import local_intensities, tissue_misfits
from scripts.registration.body import Body, embed_body
from scripts.registration.embedding_matching import BodyMaps, MatchingSettings, locate, maps_between

STAGE = "first_round"
CYCLE = "cycle"


@dataclass(frozen=True)
class KeepingRule:
    """Which located points are kept.

    Attributes:
        cycle_mm: the way there and back must end within this distance of the support's point.
        tissue_tolerance: see `DenoisingRule`; None checks no tissue.
    """

    cycle_mm: float = 16.0
    tissue_tolerance: float | None = 0.08


@dataclass(frozen=True)
class FirstRoundSettings:
    """The stage's settings, see each part."""

    matching: MatchingSettings = field(default_factory=MatchingSettings)
    transfer: TransferSettings = field(default_factory=TransferSettings)
    keeping: KeepingRule = field(default_factory=KeepingRule)


class FirstRound:
    """Writes `propagation/ID.json`, `ID_scribbles.nii.gz` and, with a region, `ID_probabilities.nii.gz`.

    Votes are class probabilities on the working grid, (X, Y, Z, 1 + K) bytes, background first.

    Args:
        cohort: with support, scribbles and classes.
        output_dir: the work directory.
        embedding_dir: holds the trained AnatomyNet.
        support_mask: label map of the support's whole organs on its own grid, grown from its scribbles or accepted by the
            user; None transfers points alone.
        settings: see `FirstRoundSettings`.
        class_limit: most support points per class; None takes all.
        background_limit: the same for background.
        device: where the network runs.

    Raises:
        BundleError: no scribbles in the cohort, or a network that does not fit.
    """

    def __init__(
        self,
        cohort: Cohort,
        output_dir: str | Path,
        embedding_dir: str | Path,
        support_mask: str | Path | None = None,
        settings: FirstRoundSettings | None = None,
        class_limit: int | None = None,
        background_limit: int | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        if cohort.scribbles is None or cohort.support is None:
            raise BundleError("correspondence needs a support with scribbles", stage=STAGE, file=cohort.output_dir)
        self.cohort, self.settings = cohort, settings or FirstRoundSettings()
        self.support_mask = None if support_mask is None else Path(support_mask)
        self.trained = load_embedding(embedding_dir, cohort.spacing_mm, device)
        self.spacing_mm = np.array(cohort.spacing_mm)
        self.points = read_scribble_points(cohort.scribbles, cohort.classes, class_limit, background_limit)
        about = {"rule": STAGE, "levels": ["fine", "coarse"], **asdict(self.settings.keeping)}
        self.records = PointRecords(cohort, output_dir, self.points, about)
        self._dependencies = sha256_of_settings(
            {
                "settings": asdict(self.settings),
                "limits": [class_limit, background_limit],
                "classes": list(cohort.classes.items()),
                "support": cohort.cases[cohort.support].sha256,
                "scribbles": sha256_of_file(cohort.scribbles),
                "support_mask": None if self.support_mask is None else sha256_of_file(self.support_mask),
                "network": sha256_of_file(Path(embedding_dir) / "model.pt"),
            }
        )

    def run(self, case_ids: Sequence[str] | None = None) -> list[str]:
        """Locate in the cases (default: all) that are not up to date; returns their names.

        Under torch.distributed every process takes its share.
        """
        rank, world = rank_and_world()
        cases = sorted(self.cohort.cases) if case_ids is None else list(case_ids)
        todo = [case for case in cases[rank::world] if not self._up_to_date(case)]
        if not todo:
            return []
        support = _Support(self, read_cached(self.cohort, self.cohort.support))
        for case in tqdm(todo, desc=STAGE, unit="case", disable=rank > 0):
            start = time.perf_counter()
            found = support.at_home() if case == self.cohort.support else support.into(case)
            if found.probabilities is not None:
                voxel_affine = nib.load(self.cohort.cached_image(case)).affine
                write_probabilities(self.records.folder / f"{case}{PROBABILITIES}", found.probabilities, voxel_affine)
            seconds = time.perf_counter() - start
            self.records.write(case, found.points, self._inputs(case), seconds, found.evidence())
        return todo

    def _up_to_date(self, case: str) -> bool:
        probabilities = self.support_mask is None or (self.records.folder / f"{case}{PROBABILITIES}").exists()
        return probabilities and self.records.up_to_date(case, self._inputs(case))

    def _inputs(self, case: str) -> str:
        return sha256_of_settings([self._dependencies, self.cohort.cases[case].sha256])


@dataclass(frozen=True)
class _Found:
    """What was found in a case.

    Attributes:
        points: the support's, located and judged.
        similarity: of the two bodies, see `BodyMaps`.
        probabilities: (1 + K, X, Y, Z) class probabilities on the working grid; None without a region.
        round_trip_dice: class -> Dice of the support's region and of what the cells' votes become back there.
    """

    points: JudgedPoints
    similarity: float = 1.0
    probabilities: np.ndarray | None = None
    round_trip_dice: Mapping[str, float] = field(default_factory=dict)

    def evidence(self) -> dict[str, Any]:
        """For the record."""
        rounded = {name: round(value, 4) for name, value in self.round_trip_dice.items()}
        return {"similarity": round(self.similarity, 4), "round_trip_dice": rounded}


class _Support:
    """The support, described once, and its ways into other cases. Places are mm of the working grid."""

    def __init__(self, stage: FirstRound, volume: CachedVolume) -> None:
        self.stage, self.volume = stage, volume
        self.body = embed_body(stage.trained, volume, stage.spacing_mm)
        voxels = to_voxels(stage.points.world_mm, volume.affine)
        self.places_mm = voxels * stage.spacing_mm
        self.intensities = self._intensities(volume, voxels)
        values = list(stage.cohort.classes.values())
        self.atlas = None if stage.support_mask is None else read_atlas(stage.support_mask, volume, self.body, values)

    def at_home(self) -> _Found:
        """The support's own points and region, as they are."""
        shape = tuple(self.volume.body.shape)
        points = points_at_home(self.stage.points, self.volume.affine, shape)
        probabilities = None if self.atlas is None else self.atlas.one_hot.astype(np.float32)
        return _Found(points, 1.0, probabilities, dict.fromkeys(self.stage.cohort.classes, 1.0))

    def into(self, case: str) -> _Found:
        """The points located in a case, and the case's votes."""
        volume = read_cached(self.stage.cohort, case)
        query = embed_body(self.stage.trained, volume, self.stage.spacing_mm)
        maps = maps_between(self.body, query, self.stage.settings.matching)
        judged = self._judge(volume, query, maps)
        if self.atlas is None:
            return _Found(judged, maps.similarity)
        settings = self.stage.spacing_mm, self.stage.settings.transfer
        answer = ask(self.atlas, volume, query, maps.backward, *settings)
        returned = transfer_labels(
            query.embedding, answer.cells, self.body.embedding, self.volume.body, maps.forward, *settings
        ).argmax(dim=0)
        own = self.atlas.fractions.argmax(dim=0)
        names = enumerate(self.stage.cohort.classes, start=1)
        dice = {name: dice_of((returned == n).numpy(), (own == n).numpy()) for n, name in names}
        return _Found(judged, maps.similarity, answer.probabilities, dice)

    def _judge(self, volume: CachedVolume, query: Body, maps: BodyMaps) -> JudgedPoints:
        matching, keeping = self.stage.settings.matching, self.stage.settings.keeping
        found = locate(self.body, self.places_mm, query, maps.forward, matching)
        back = locate(query, found.places_mm, self.body, maps.backward, matching)
        voxels = found.places_mm / self.stage.spacing_mm
        working = nearest_voxels(voxels, volume.body.shape)
        labels = self.stage.points.labels
        misfits = tissue_misfits(labels, self.intensities, self._intensities(volume, voxels))
        evidence = {
            "cycle_mm": np.linalg.norm(back.places_mm - self.places_mm, axis=1),
            "map_mm": np.linalg.norm(found.places_mm - maps.forward(self.places_mm), axis=1),
            "margin": found.margin,
            "tissue_misfit": misfits,
        }
        scores = found.similarity / 2
        reasons = np.full(len(labels), KEPT, dtype=object)
        if keeping.tissue_tolerance is not None:
            reasons[misfits > keeping.tissue_tolerance] = TISSUE
        reasons[evidence["cycle_mm"] > keeping.cycle_mm] = CYCLE
        reasons[collisions(labels, working, scores, reasons == KEPT)] = COLLISION
        world_mm = to_world(voxels, volume.affine)
        return JudgedPoints(world_mm, working, {"joined": scores}, scores, reasons.tolist(), evidence)

    def _intensities(self, volume: CachedVolume, voxels: np.ndarray) -> np.ndarray:
        return local_intensities(volume.image[0].numpy(), nearest_voxels(voxels, volume.body.shape))
