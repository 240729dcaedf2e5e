"""`propagation/ID.json` and `propagation/ID_scribbles.nii.gz`: the contract of every stage that locates points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from scripts.common.affines import nearest_voxels, to_voxels
from scripts.common.files import is_made_of, write_json, write_nifti
from scripts.data.cohort import Cohort
from scripts.data.scribbles import BACKGROUND, ScribblePoints, draw_points
from scripts.points.denoising import KEPT, classes_not_located


@dataclass(frozen=True)
class JudgedPoints:
    """The support's points, located in one case.

    Attributes:
        world_mm: (N, 3) where, in the case's world.
        working_voxels: (N, 3) the same on the working grid.
        similarities: level -> (N,) cosine.
        scores: (N,) what they are ranked by.
        reasons: N reasons for dropping, "" where kept.
        evidence: name -> (N,) further numbers that the record shows.
    """

    world_mm: np.ndarray
    working_voxels: np.ndarray
    similarities: Mapping[str, np.ndarray]
    scores: np.ndarray
    reasons: list[str]
    evidence: Mapping[str, np.ndarray] = field(default_factory=dict)


def points_at_home(points: ScribblePoints, affine: np.ndarray, shape: tuple[int, ...]) -> JudgedPoints:
    """The support's own points: at their places, with score 1, all kept.

    Args:
        points: the support's.
        affine: of the support's working grid.
        shape: of the support's working grid.
    """
    ones = np.ones(len(points.labels))
    working = nearest_voxels(to_voxels(points.world_mm, affine), shape)
    return JudgedPoints(points.world_mm, working, {}, ones, [KEPT] * len(ones))


class PointRecords:
    """Writes and checks the records of one cohort.

    Args:
        cohort: with support and classes.
        output_dir: the work directory.
        points: the support's points.
        about: what made the points, repeated in every record.
    """

    def __init__(
        self, cohort: Cohort, output_dir: str | Path, points: ScribblePoints, about: Mapping[str, Any]
    ) -> None:
        self.cohort, self.points, self.about = cohort, points, dict(about)
        self.folder = Path(output_dir) / "propagation"

    def write(
        self, case: str, judged: JudgedPoints, inputs: str, seconds: float, more: Mapping[str, Any] | None = None
    ) -> None:
        """The drawing first, the record last: with it the case counts as done.

        Args:
            case: name.
            judged: its points.
            inputs: fingerprint of all they depend on.
            seconds: what locating them took.
            more: further entries of the record.
        """
        classes, rows = self.cohort.classes, self._rows(judged)
        draw_kept(self.cohort, case, rows, self.folder)
        record = {
            "case": case,
            "support": self.cohort.support,
            **self.about,
            "spacing_mm": list(self.cohort.spacing_mm),
            "classes": classes,
            "points": rows,
            **(more or {}),
            "not_located": classes_not_located(classes, self.points.labels, judged.reasons),
            "inputs": inputs,
            "seconds": round(seconds, 3),
        }
        write_json(self.folder / f"{case}.json", record)

    def up_to_date(self, case: str, inputs: str) -> bool:
        """Whether both files are there and were made of the same inputs."""
        drawing = self.folder / f"{case}_scribbles.nii.gz"
        return drawing.exists() and is_made_of(self.folder / f"{case}.json", inputs)

    def _rows(self, judged: JudgedPoints) -> list[dict[str, Any]]:
        names = {value: name for name, value in self.cohort.classes.items()} | {0: BACKGROUND}
        return [
            {
                "class": names[int(label)],
                "label": int(label),
                "support_voxel": [int(v) for v in self.points.voxels[n]],
                "support_mm": [round(float(v), 3) for v in self.points.world_mm[n]],
                "located_mm": [round(float(v), 3) for v in judged.world_mm[n]],
                "working_voxel": [int(v) for v in judged.working_voxels[n]],
                "similarity": {level: round(float(s[n]), 4) for level, s in judged.similarities.items()},
                "score": round(float(judged.scores[n]), 4),
                **{name: round(float(values[n]), 4) for name, values in judged.evidence.items()},
                "kept": judged.reasons[n] == KEPT,
                "reason": judged.reasons[n],
            }
            for n, label in enumerate(self.points.labels)
        ]


def draw_kept(cohort: Cohort, case: str, rows: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Write `ID_scribbles.nii.gz`, the kept points on the case's own grid.

    Foreground goes over background, then the higher score over the lower.

    Args:
        cohort: with classes and the value of background strokes.
        case: name.
        rows: of the case's record.
        folder: `propagation/`.
    """
    kept = [row for row in rows if row["kept"]]
    places_mm = np.array([row["located_mm"] for row in kept], dtype=float).reshape(-1, 3)
    labels = np.array([row["label"] for row in kept], dtype=int)
    order = np.where(labels == 0, -1.0, [row["score"] for row in kept])
    image = nib.load(cohort.cases[case].image)
    values = np.where(labels == 0, cohort.background or 0, labels)
    drawn = draw_points(places_mm, values, order, image.affine, cohort.cases[case].shape)
    write_nifti(folder / f"{case}_scribbles.nii.gz", drawn, image.affine, like=image)
