"""Several supports (mode `default`): cases whose labels came through well vote beside the scribbled one.

A body unlike the support's is often like another case's, and two short steps go wrong less than one long one.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from tqdm import tqdm

from scripts.common.distributed import rank_and_world
from scripts.common.errors import BundleError
from scripts.common.files import is_made_of, read_json, sha256_of_file, sha256_of_settings, write_json, write_nifti
from scripts.data.cached_volume import CachedVolume, read_cached
from scripts.data.cohort import Cohort
from scripts.data.probability_maps import PROBABILITIES, read_probabilities, write_probabilities
from scripts.label_propagation.atlas import Atlas, ask, read_atlas
from scripts.label_propagation.atlas_selection import AtlasPrediction, fuse_labels, select_atlases
from scripts.label_propagation.label_transfer import TransferSettings
from scripts.label_propagation.point_check import check_points
from scripts.networks.embedding_weights import load_embedding
from scripts.points.denoising import classes_not_located
from scripts.points.point_records import draw_kept
from scripts.registration.body import Body, embed_body
from scripts.registration.embedding_matching import MatchingSettings, maps_between

logger = logging.getLogger(__name__)

STAGE = "label_fusion"
ATLAS_LABELS = "_atlases.nii.gz"
ON_SUPPORT = "on_support"


@dataclass(frozen=True)
class FusionSettings:
    """Who helps, and how much.

    Attributes:
        matching, transfer: see each part.
        most_atlases: most cases that are atlases beside the support.
        least_round_trip_dice: with which a class must return from a case, for the case to be heard about it.
        temperature: a voter's weight is the softmax of its body's similarity to the query's, at this temperature.
        least_point_probability: a point is kept where the vote for its class is above. It exceeds `transfer.warped_share`, so that
            the cells, too, must be for it.
        reach_mm: how far a point may be moved to such a place.
    """

    matching: MatchingSettings = field(default_factory=MatchingSettings)
    transfer: TransferSettings = field(default_factory=TransferSettings)
    most_atlases: int = 4
    least_round_trip_dice: float = 0.5
    temperature: float = 0.1
    least_point_probability: float = 0.9
    reach_mm: float = 24.0


class LabelFusion:
    """Writes `propagation/`: votes of the support and the helpers together, and the points as these votes judge them.

    `ID_atlases.nii.gz` is what each voter alone says: label values at the working spacing, (X, Y, Z, voters).
    `on_support/propagation/` holds the same of the helpers alone for the support, where the truth is known.

    Args:
        cohort: with a support.
        output_dir: the work directory.
        first_dir: holds `propagation/` and `pseudo_labels/` of the first round.
        embedding_dir: holds the trained AnatomyNet.
        settings: see `FusionSettings`.
        accepted: case -> label map on its own grid that the user accepted; these cases always vote, and nobody votes
            about them.
        device: where the network runs.

    Raises:
        BundleError: no first round, or a network that does not fit.
    """

    def __init__(
        self,
        cohort: Cohort,
        output_dir: str | Path,
        first_dir: str | Path,
        embedding_dir: str | Path,
        settings: FusionSettings | None = None,
        accepted: Mapping[str, str | Path] | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        self.accepted = {case: Path(file) for case, file in (accepted or {}).items() if case != cohort.support}
        self.cohort, self.settings = cohort, settings or FusionSettings()
        self.folder, self.first_dir = Path(output_dir) / "propagation", Path(first_dir)
        self.on_support = Path(output_dir) / ON_SUPPORT / "propagation"
        self.trained = load_embedding(embedding_dir, cohort.spacing_mm, device)
        self.spacing_mm = np.array(cohort.spacing_mm)
        self.records = {case: self._first_record(case) for case in sorted(cohort.cases)}
        self.classes_of = dict.fromkeys([cohort.support, *self.accepted], tuple(cohort.classes))
        most = max(self.settings.most_atlases - len(self.accepted), 0)
        self.classes_of |= select_atlases(
            self.records, list(self.classes_of), most, self.settings.least_round_trip_dice
        )
        self.selected = [case for case in self.classes_of if case != cohort.support]
        self._dependencies = sha256_of_settings(
            {
                "settings": asdict(self.settings),
                "atlases": {
                    case: [sha256_of_file(self._labels(case)), self.classes_of[case]] for case in self.selected
                },
                "network": sha256_of_file(Path(embedding_dir) / "model.pt"),
            }
        )

    def run(self, case_ids: Sequence[str] | None = None) -> list[str]:
        """Fuse the votes of the cases (default: all) that are not up to date; returns their names.

        Under torch.distributed every process takes its share.
        """
        rank, world = rank_and_world()
        cases = list(self.records if case_ids is None else case_ids)
        todo = [case for case in cases[rank::world] if not self._up_to_date(self.folder, case)]
        support = self.cohort.support
        tested = not self.selected or rank > 0 or self._up_to_date(self.on_support, support)
        if tested and not todo:
            return []
        if not self.selected:
            shutil.rmtree(self.on_support.parent, ignore_errors=True)
        logger.info("cases that vote beside the support: %s", ", ".join(self.selected) or "none")
        atlases = {case: self._atlas(case) for case in self.selected}
        for case in tqdm(todo, desc=STAGE, unit="case", disable=rank > 0):
            self._write(self.folder, case, self._said_about(case, atlases), self.records[case]["points"])
        if not tested:
            self._write(self.on_support, support, self._all_say(atlases, support), points=[])
        return todo

    def _write(
        self, folder: Path, case: str, said: Mapping[str, AtlasPrediction], points: Sequence[Mapping[str, Any]]
    ) -> None:
        """What the voters say together and each for itself, and what becomes of the points; the record comes last."""
        fused, weights = fuse_labels(said, list(self.cohort.classes), self.settings.temperature)
        cached = nib.load(self.cohort.cached_image(case))
        write_probabilities(folder / f"{case}{PROBABILITIES}", fused, cached.affine)
        alone = [self._labelled(atlas.probabilities) for atlas in said.values()]
        write_nifti(folder / f"{case}{ATLAS_LABELS}", np.stack(alone, axis=-1), cached.affine)
        rows = points if case == self.cohort.support else self._judged(points, fused, cached.affine)
        draw_kept(self.cohort, case, rows, folder)
        reasons = [row["reason"] for row in rows]
        found = {
            "rule": "probabilities",
            "levels": [],
            "cycle_mm": None,
            "least_point_probability": self.settings.least_point_probability,
            "reach_mm": self.settings.reach_mm,
            "points": rows,
            "not_located": classes_not_located(self.cohort.classes, [row["label"] for row in rows], reasons),
            "atlases": weights,
            "mean_round_trip_dice": self._came_back(case, weights),
        }
        record = {**self.records[case], **found, "inputs": self._inputs(case)}
        write_json(folder / f"{case}.json", record)

    def _came_back(self, case: str, weights: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """Class -> Dice with which labels came back from the case, for the support, and from each helper, for the
        helper, mean by weight; 1 of a label map that the user accepted."""

        def returned(atlas: str, name: str) -> float:
            if atlas in self.accepted:
                return 1.0
            return self.records[case if atlas == self.cohort.support else atlas]["round_trip_dice"][name]

        return {
            name: round(
                sum(share[name] * returned(atlas, name) for atlas, share in weights.items() if name in share), 4
            )
            for name in self.cohort.classes
        }

    def _said_about(self, case: str, atlases: Mapping[str, Atlas]) -> dict[str, AtlasPrediction]:
        """What everybody says; of the support and the cases that the user accepted their own label maps say all."""
        if case in self.accepted:
            return {case: self._prediction(case, atlases[case].one_hot.astype(np.float32), 1.0)}
        support = {self.cohort.support: self._support_says(case)}
        return support if case == self.cohort.support else support | self._all_say(atlases, case)

    def _support_says(self, case: str) -> AtlasPrediction:
        probabilities, _ = read_probabilities(self.first_dir / "propagation" / f"{case}{PROBABILITIES}")
        return self._prediction(self.cohort.support, probabilities, self.records[case]["similarity"])

    def _all_say(self, atlases: Mapping[str, Atlas], case: str) -> dict[str, AtlasPrediction]:
        """Every helper's votes for a case, its own left out."""
        others = {name: atlas for name, atlas in atlases.items() if name != case}
        if not others:
            return {}
        volume = read_cached(self.cohort, case)
        query = embed_body(self.trained, volume, self.spacing_mm)
        return {name: self._ask(name, atlas, volume, query) for name, atlas in others.items()}

    def _judged(self, points: Sequence[Mapping[str, Any]], probabilities: np.ndarray, affine: np.ndarray) -> list[dict]:
        values, settings = list(self.cohort.classes.values()), self.settings
        return check_points(points, probabilities, values, affine, settings.least_point_probability, settings.reach_mm)

    def _labelled(self, probabilities: np.ndarray) -> np.ndarray:
        """(X, Y, Z) label values where each class's vote is the highest."""
        return np.array([0, *self.cohort.classes.values()], dtype=np.uint8)[probabilities.argmax(axis=0)]

    def _ask(self, name: str, atlas: Atlas, volume: CachedVolume, query: Body) -> AtlasPrediction:
        maps = maps_between(atlas.body, query, self.settings.matching)
        answer = ask(atlas, volume, query, maps.backward, self.spacing_mm, self.settings.transfer)
        return self._prediction(name, answer.probabilities, maps.similarity)

    def _prediction(self, name: str, probabilities: np.ndarray, similarity: float) -> AtlasPrediction:
        return AtlasPrediction(probabilities, similarity, self.classes_of[name])

    def _atlas(self, case: str) -> Atlas:
        volume = read_cached(self.cohort, case)
        body = embed_body(self.trained, volume, self.spacing_mm)
        return read_atlas(self._labels(case), volume, body, list(self.cohort.classes.values()))

    def _first_record(self, case: str) -> dict[str, Any]:
        file = self.first_dir / "propagation" / f"{case}.json"
        if not file.exists():
            raise BundleError("the first round lacks a case", case=case, stage=STAGE, file=file)
        return read_json(file)

    def _labels(self, case: str) -> Path:
        return self.accepted.get(case, self.first_dir / "pseudo_labels" / f"{case}.nii.gz")

    def _inputs(self, case: str) -> str:
        return sha256_of_settings([self._dependencies, self.records[case]["inputs"]])

    def _up_to_date(self, folder: Path, case: str) -> bool:
        drawn = all(
            (folder / f"{case}{ending}").exists() for ending in (PROBABILITIES, ATLAS_LABELS, "_scribbles.nii.gz")
        )
        return drawn and is_made_of(folder / f"{case}.json", self._inputs(case))
