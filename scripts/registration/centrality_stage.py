"""From a cohort without a stroke to its volumes in the order in which they are best scribbled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scripts.common.case_stage import CaseStage
from scripts.common.errors import BundleError
from scripts.common.files import atomic_path, keep_json, load_tensors, read_json
from scripts.common.work_folder import SuggestionFolder, WorkFolder
from scripts.data.cached_volume import read_cached
from scripts.data.cohort import Cohort
from scripts.embedding.dense_embedding import WindowSettings
from scripts.registration.body_embedder import BodyEmbedder
from scripts.registration.centrality import (
    BodyPair,
    CentralitySettings,
    bring_together,
    pairs_to_compare,
    proposed,
    rank_by_centrality,
)
from scripts.registration.embedding_matching import MatchingSettings
from scripts.registration.orientation import Landmarks, draw_landmarks
from scripts.registration.robust_affine import AffineMap

DIGITS = 4
MADE_AGAIN = "the file as it was written; `suggest` makes it again"


class LandmarkStage(CaseStage):
    """Random cells of every body, with their embeddings.

    Args:
        cohort: with a cache.
        case_ids: which cases of it.
        embed: whose network embeds them.
        settings: see `CentralitySettings`.
    """

    name = "landmarks"

    def __init__(
        self,
        cohort: Cohort,
        case_ids: Sequence[str],
        embed: BodyEmbedder,
        settings: CentralitySettings,
    ) -> None:
        self.cohort, self.case_ids = cohort, sorted(case_ids)
        self.embed, self.settings = embed, settings
        self.folder = WorkFolder(cohort.output_dir).suggestion

    def cases(self) -> list[str]:
        """Those that are compared."""
        return self.case_ids

    def inputs(self, case: str) -> Any:
        """Network, image and how cells are drawn."""
        return [
            self.embed.mark,
            asdict(self.embed.windows),
            self.settings.body_landmarks,
            self.cohort.cases[case].sha256,
        ]

    def record(self, case: str) -> Path:
        """Beside the landmarks."""
        return self.folder.landmarks_record(case)

    def make(self, case: str) -> tuple[dict[str, Any], Sequence[Path]]:
        """Embed one body."""
        volume = read_cached(self.cohort, case)
        body = self.embed(volume)
        landmarks = draw_landmarks(body, self.settings.body_landmarks)
        unit_vectors = landmarks.vectors / len(body.embedding.levels) ** 0.5  # one unit vector a level was joined
        file = self.folder.landmarks(case)
        with atomic_path(file) as temporary, temporary.open("wb") as opened:
            torch.save({"places_mm": landmarks.places_mm.cpu(), "vectors": unit_vectors.cpu()}, opened)
        return {"case": case, "landmarks": len(landmarks.places_mm)}, [file]


class PairStage(CaseStage):
    """Every body brought together with its partners that come after it.

    Args:
        landmarks: of all cases, made already.
        matching: see `MatchingSettings`.
    """

    name = "pairs"

    def __init__(self, landmarks: LandmarkStage, matching: MatchingSettings) -> None:
        self.landmarks, self.matching, self.folder = landmarks, matching, landmarks.folder
        settings = landmarks.settings
        self.partners: dict[str, list[str]] = {case: [] for case in landmarks.cases()}
        for first, second in pairs_to_compare(landmarks.cases(), settings.most_partners, settings.partner_seed):
            self.partners[first].append(second)

    def cases(self) -> list[str]:
        """Those that are compared."""
        return self.landmarks.cases()

    def inputs(self, case: str) -> Any:
        """What the landmarks of the case and of its partners were made of."""
        made_of = {other: self.landmarks.inputs(other) for other in (case, *self.partners[case])}
        return [asdict(self.matching), made_of]

    def record(self, case: str) -> Path:
        """In a folder of their own."""
        return self.folder.pairs_record(case)

    def make(self, case: str) -> tuple[dict[str, Any], Sequence[Path]]:
        """Compare one case with its partners."""
        own = read_landmarks(self.folder, case)
        pairs = {
            other: bring_together(own, read_landmarks(self.folder, other), self.matching)
            for other in self.partners[case]
        }
        return {"case": case, "pairs": {other: _as_json(pair) for other, pair in pairs.items()}}, []

    def read(self) -> dict[tuple[str, str], BodyPair]:
        """What `run` left."""
        records = {case: read_json(self.record(case), MADE_AGAIN) for case in self.cases()}
        return {
            (case, other): _from_json(pair)
            for case, record in records.items()
            for other, pair in record["pairs"].items()
        }


class Suggestion:
    """Writes `suggest.json`: every case, the best to scribble first.

    Args:
        cohort: that nobody need have drawn on.
        embedding_dir: holds the trained AnatomyNet.
        count: how many volumes are proposed.
        settings: see `CentralitySettings`.
        windows: see `WindowSettings`.
        matching: see `MatchingSettings`.
        device: where the network runs.
    """

    def __init__(
        self,
        cohort: Cohort,
        embedding_dir: str | Path,
        count: int = 3,
        settings: CentralitySettings | None = None,
        windows: WindowSettings | None = None,
        matching: MatchingSettings | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        self.cohort, self.count, self.settings = cohort, count, settings or CentralitySettings()
        self.matching, self.folder = matching or MatchingSettings(), WorkFolder(cohort.output_dir)
        self.embed = BodyEmbedder(embedding_dir, cohort.spacing_mm, windows or WindowSettings(), device)

    def run(self, case_ids: Sequence[str] | None = None) -> None:
        """Make what is missing of the cases (default: all), and rank them."""
        cases = sorted(self.cohort.cases if case_ids is None else case_ids)
        landmarks = LandmarkStage(self.cohort, cases, self.embed, self.settings)
        pairs = PairStage(landmarks, self.matching)
        landmarks.run()
        pairs.run()
        places_mm = {case: read_landmarks(self.folder.suggestion, case).places_mm.numpy() for case in cases}
        ranking = rank_by_centrality(places_mm, pairs.read(), self.settings)
        content = {
            "proposed": [one.case for one in proposed(ranking, self.count, self.settings.least_field)],
            "least_field": self.settings.least_field,
            "cases": {
                one.case: {"similarity": round(one.similarity, DIGITS), "field_shown": round(one.field_shown, DIGITS)}
                for one in ranking
            },
        }
        keep_json(self.folder.suggestion_record, content)


def read_landmarks(folder: SuggestionFolder, case: str) -> Landmarks:
    """Those that `LandmarkStage` left.

    Raises:
        BundleError: they are missing or damaged.
    """
    file = folder.landmarks(case)
    try:
        content = load_tensors(file)
        return Landmarks(content["places_mm"], content["vectors"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(
            "a result of an earlier stage cannot be read", case=case, file=file, expected=MADE_AGAIN, found=error
        ) from error


def _as_json(pair: BodyPair) -> dict[str, Any]:
    maps = {"forward": pair.forward, "backward": pair.backward}
    tables = {
        name: None if one is None else np.column_stack([one.matrix, one.shift_mm]).tolist()
        for name, one in maps.items()
    }
    return {"similarity": pair.similarity, **tables}


def _from_json(content: Mapping[str, Any]) -> BodyPair:
    def affine(table: Any) -> AffineMap | None:
        return None if table is None else AffineMap(np.array(table)[:, :3], np.array(table)[:, 3])

    return BodyPair(float(content["similarity"]), affine(content["forward"]), affine(content["backward"]))
