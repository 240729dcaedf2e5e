"""Propagated points: the support's scribbles as a `PointSet`, and how the kept ones are drawn (both modes)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from scripts.common.affines import nearest_voxels, to_voxels
from scripts.data.records import KEPT, PointSet
from scripts.data.scribbles import ScribblePoints, draw_points


def located_points(
    scribbles: ScribblePoints,
    located_mm: np.ndarray,
    working_voxels: np.ndarray,
    scores: np.ndarray,
    reasons: Sequence[str],
    similarities: Mapping[str, np.ndarray] | None = None,
    evidence: Mapping[str, np.ndarray] | None = None,
) -> PointSet:
    """The support's N scribble points with where each lies and what was measured there; see `PointSet`."""
    return PointSet(
        labels=scribbles.labels,
        support_voxels=scribbles.voxels,
        support_mm=scribbles.world_mm,
        located_mm=located_mm,
        working_voxels=working_voxels,
        scores=scores,
        reasons=np.array(reasons, dtype=object),
        similarities=dict(similarities or {}),
        evidence=dict(evidence or {}),
    )


def points_at_home(scribbles: ScribblePoints, affine: np.ndarray, shape: Sequence[int]) -> PointSet:
    """The support's own points: where they are, with score 1, all kept.

    Args:
        scribbles: the support's.
        affine: (4, 4) of the support's working grid.
        shape: of the support's working grid.
    """
    count = len(scribbles.labels)
    working_voxels = nearest_voxels(to_voxels(scribbles.world_mm, affine), shape)
    return located_points(scribbles, scribbles.world_mm, working_voxels, np.ones(count), [KEPT] * count)


def draw_kept(points: PointSet, affine: np.ndarray, shape: tuple[int, ...], background_value: int) -> np.ndarray:
    """(X, Y, Z) uint8 label values, one voxel a kept point; foreground over background, then the higher score.

    Places and scores are those of the record, rounded, so that the drawing can be made again from it.

    Args:
        points: in the case's world.
        affine: (4, 4) of the case's own grid.
        shape: of that grid.
        background_value: that background points are drawn with.
    """
    kept = points.chosen(points.kept).rounded()
    order = np.where(kept.labels == 0, -1.0, kept.scores)
    values = np.where(kept.labels == 0, background_value, kept.labels)
    return draw_points(kept.located_mm, values, order, affine, shape)
