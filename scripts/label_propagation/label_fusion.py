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
from scripts.data.probability_maps import VOTES, read_votes, write_votes
from scripts.label_propagation.atlas import Voter, ask, read_voter
from scripts.label_propagation.atlas_selection import Voice, choose_helpers, in_one_voice
from scripts.label_propagation.label_transfer import TransferSettings
from scripts.label_propagation.point_check import judged_by_votes
from scripts.networks.embedding_weights import load_embedding
from scripts.points.denoising import classes_not_located
from scripts.points.point_records import draw_kept
from scripts.registration.body import Body, embed_body
from scripts.registration.embedding_matching import MatchingSettings, maps_between

logger = logging.getLogger(__name__)

STAGE = "fusion"
VOTERS = "_voters.nii.gz"
ON_SUPPORT = "on_support"


@dataclass(frozen=True)
class FusionSettings:
    """Who helps, and how much.

    Attributes:
        matching, transfer: see each part.
        helpers: most cases that vote beside the support.
        least_dice: with which a class must return from a case, for the case to be heard about it.
        temperature: a voter's weight is the softmax of its body's similarity to the query's, at this temperature.
        confident: a point is kept where the vote for its class is above. It exceeds `transfer.carried_share`, so that
            the cells, too, must be for it.
        reach_mm: how far a point may be moved to such a place.
    """

    matching: MatchingSettings = field(default_factory=MatchingSettings)
    transfer: TransferSettings = field(default_factory=TransferSettings)
    helpers: int = 4
    least_dice: float = 0.5
    temperature: float = 0.1
    confident: float = 0.9
    reach_mm: float = 24.0


class VoteFusion:
    """Writes `propagation/`: votes of the support and the helpers together, and the points as these votes judge them.

    `ID_voters.nii.gz` is what each voter alone says: label values at the working spacing, (X, Y, Z, voters).
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
        self.heard = dict.fromkeys([cohort.support, *self.accepted], tuple(cohort.classes))
        most = max(self.settings.helpers - len(self.accepted), 0)
        self.heard |= choose_helpers(self.records, list(self.heard), most, self.settings.least_dice)
        self.helpers = [case for case in self.heard if case != cohort.support]
        self._dependencies = sha256_of_settings(
            {
                "settings": asdict(self.settings),
                "helpers": {case: [sha256_of_file(self._labels(case)), self.heard[case]] for case in self.helpers},
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
        tested = not self.helpers or rank > 0 or self._up_to_date(self.on_support, support)
        if tested and not todo:
            return []
        if not self.helpers:
            shutil.rmtree(self.on_support.parent, ignore_errors=True)
        logger.info("cases that vote beside the support: %s", ", ".join(self.helpers) or "none")
        voters = {case: self._voter(case) for case in self.helpers}
        for case in tqdm(todo, desc=STAGE, unit="case", disable=rank > 0):
            self._write(self.folder, case, self._said_about(case, voters), self.records[case]["points"])
        if not tested:
            self._write(self.on_support, support, self._all_say(voters, support), points=[])
        return todo

    def _write(self, folder: Path, case: str, said: Mapping[str, Voice], points: Sequence[Mapping[str, Any]]) -> None:
        """What the voters say together and each for itself, and what becomes of the points; the record comes last."""
        fused, weights = in_one_voice(said, list(self.cohort.classes), self.settings.temperature)
        cached = nib.load(self.cohort.cached_image(case))
        write_votes(folder / f"{case}{VOTES}", fused, cached.affine)
        alone = [self._labelled(voter.votes) for voter in said.values()]
        write_nifti(folder / f"{case}{VOTERS}", np.stack(alone, axis=-1), cached.affine)
        rows = points if case == self.cohort.support else self._judged(points, fused, cached.affine)
        draw_kept(self.cohort, case, rows, folder)
        reasons = [row["reason"] for row in rows]
        found = {
            "rule": "votes",
            "levels": [],
            "cycle_mm": None,
            "confident_vote": self.settings.confident,
            "reach_mm": self.settings.reach_mm,
            "points": rows,
            "not_located": classes_not_located(self.cohort.classes, [row["label"] for row in rows], reasons),
            "voters": weights,
            "came_back": self._came_back(case, weights),
        }
        record = {**self.records[case], **found, "inputs": self._inputs(case)}
        write_json(folder / f"{case}.json", record)

    def _came_back(self, case: str, weights: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """Class -> Dice with which labels came back from the case, for the support, and from each helper, for the
        helper, mean by weight; 1 of a label map that the user accepted."""

        def returned(voter: str, name: str) -> float:
            if voter in self.accepted:
                return 1.0
            return self.records[case if voter == self.cohort.support else voter]["returned_dice"][name]

        return {
            name: round(
                sum(share[name] * returned(voter, name) for voter, share in weights.items() if name in share), 4
            )
            for name in self.cohort.classes
        }

    def _said_about(self, case: str, voters: Mapping[str, Voter]) -> dict[str, Voice]:
        """What everybody says; of the support and the cases that the user accepted their own label maps say all."""
        if case in self.accepted:
            return {case: self._voice(case, voters[case].one_hot.astype(np.float32), 1.0)}
        support = {self.cohort.support: self._support_says(case)}
        return support if case == self.cohort.support else support | self._all_say(voters, case)

    def _support_says(self, case: str) -> Voice:
        votes, _ = read_votes(self.first_dir / "propagation" / f"{case}{VOTES}")
        return self._voice(self.cohort.support, votes, self.records[case]["similarity"])

    def _all_say(self, voters: Mapping[str, Voter], case: str) -> dict[str, Voice]:
        """Every helper's votes for a case, its own left out."""
        others = {name: voter for name, voter in voters.items() if name != case}
        if not others:
            return {}
        volume = read_cached(self.cohort, case)
        query = embed_body(self.trained, volume, self.spacing_mm)
        return {name: self._ask(name, voter, volume, query) for name, voter in others.items()}

    def _judged(self, points: Sequence[Mapping[str, Any]], votes: np.ndarray, affine: np.ndarray) -> list[dict]:
        values, settings = list(self.cohort.classes.values()), self.settings
        return judged_by_votes(points, votes, values, affine, settings.confident, settings.reach_mm)

    def _labelled(self, votes: np.ndarray) -> np.ndarray:
        """(X, Y, Z) label values where each class's vote is the highest."""
        return np.array([0, *self.cohort.classes.values()], dtype=np.uint8)[votes.argmax(axis=0)]

    def _ask(self, name: str, voter: Voter, volume: CachedVolume, query: Body) -> Voice:
        maps = maps_between(voter.body, query, self.settings.matching)
        answer = ask(voter, volume, query, maps.back, self.spacing_mm, self.settings.transfer)
        return self._voice(name, answer.votes, maps.similarity)

    def _voice(self, name: str, votes: np.ndarray, similarity: float) -> Voice:
        return Voice(votes, similarity, self.heard[name])

    def _voter(self, case: str) -> Voter:
        volume = read_cached(self.cohort, case)
        body = embed_body(self.trained, volume, self.spacing_mm)
        return read_voter(self._labels(case), volume, body, list(self.cohort.classes.values()))

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
        drawn = all((folder / f"{case}{ending}").exists() for ending in (VOTES, VOTERS, "_scribbles.nii.gz"))
        return drawn and is_made_of(folder / f"{case}.json", self._inputs(case))
